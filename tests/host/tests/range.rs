// SPDX-License-Identifier: GPL-2.0

//! A range is filled page by page, each once, and a failed call leaves it as it was.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::range::{Extent, Fill, Pieces, Prior, Refusal, State, Tile, Tiling, PAGE_SIZE};

const START: usize = 0x7f00_0000_0000;

fn extent(pages: usize) -> Extent {
    Extent::new(START, START + pages * PAGE_SIZE).unwrap()
}

proptest! {
    #[test]
    fn extents_are_whole_pages(start in any::<usize>(), end in any::<usize>()) {
        let good = start < end && start % PAGE_SIZE == 0 && end % PAGE_SIZE == 0;
        prop_assert_eq!(Extent::new(start, end).is_some(), good);
    }

    /// Whatever user space asks for, what is answered lies within the range.
    #[test]
    fn spans_lie_within(
        pages in 1usize..100,
        address in prop_oneof![
            any::<usize>(),
            (0usize..200 * PAGE_SIZE).prop_map(|offset| START - 50 * PAGE_SIZE + offset),
            (0usize..200).prop_map(|page| START - 50 * PAGE_SIZE + page * PAGE_SIZE),
        ],
        count in prop_oneof![any::<usize>(), 0usize..200],
    ) {
        let extent = extent(pages);
        let inside = address >= START
            && (address - START) % PAGE_SIZE == 0
            && count > 0
            && count <= pages
            && (address - START) / PAGE_SIZE + count <= pages;
        match extent.span(address, count) {
            Some(span) => {
                prop_assert!(inside);
                prop_assert_eq!(START + span.first() * PAGE_SIZE, address);
                prop_assert_eq!(span.pages(), count);
            }
            None => prop_assert!(!inside),
        }
    }

    /// The pieces are in order, cover everything once, and none is longer than allowed.
    #[test]
    fn pieces_cover(total in 0usize..10_000, at_most in 1usize..600) {
        let mut next = 0;
        for (at, len) in Pieces::new(total, at_most) {
            prop_assert_eq!(at, next);
            prop_assert!(len > 0 && len <= at_most);
            next += len;
        }
        prop_assert_eq!(next, total);
    }

    #[test]
    fn pieces_near_the_end(short in 0usize..5, at_most in 1usize..10) {
        // Does not wrap, and does not go on for ever.
        let total = usize::MAX - short;
        let mut pieces = Pieces::new(total, usize::MAX / at_most);
        let mut covered = 0usize;
        for (at, len) in pieces.by_ref() {
            prop_assert_eq!(at, covered);
            covered = covered.checked_add(len).unwrap();
        }
        prop_assert_eq!(covered, total);
    }

    /// Against a model that knows each page.
    #[test]
    fn filled_once(
        pages in 1usize..24,
        steps in proptest::collection::vec(
            (0usize..24, 1usize..24, 0u8..3, any::<u32>(), any::<bool>()), 1..40,
        ),
    ) {
        let extent = extent(pages);
        let mut state = State::Fresh;
        let mut model: Option<Vec<bool>> = None;

        for (first, count, fill, which, fails) in steps {
            let fill = [Fill::Batch, Fill::Tiles, Fill::Whole][usize::from(fill)];
            let Some(span) = extent.span(START + first * PAGE_SIZE, count) else {
                continue;
            };
            let before = state;
            match state.begin(pages, span, fill) {
                Ok(prior) => {
                    prop_assert_eq!(prior.was_fresh(), model.is_none());
                    prop_assert_eq!(state, State::Filling);
                    let mut other = state;
                    prop_assert_eq!(other.begin(pages, span, fill), Err(Refusal::Busy));
                    match &model {
                        None => match fill {
                            Fill::Batch | Fill::Whole => {
                                prop_assert!(first == 0 && count == pages);
                            }
                            Fill::Tiles => prop_assert_eq!(first, 0),
                        },
                        Some(_) => prop_assert_eq!(fill, Fill::Batch),
                    }
                    // The page tables tell the driver whether one of the pages is taken.
                    let taken = model
                        .as_ref()
                        .is_some_and(|m| m[first..first + count].iter().any(|p| *p));
                    if fails || taken {
                        state.abandon(prior);
                        prop_assert_eq!(state, before);
                        continue;
                    }
                    let map = model.get_or_insert_with(|| vec![false; pages]);
                    let mut added = 0;
                    for (i, page) in map[first..first + count].iter_mut().enumerate() {
                        if (which >> (i % 32)) & 1 == 1 {
                            *page = true;
                            added += 1;
                        }
                    }
                    state.finish(pages, prior, added);
                }
                Err(Refusal::Busy) => prop_assert!(false, "nobody else is at it"),
                Err(Refusal::Misplaced) => {
                    prop_assert!(model.is_none());
                    prop_assert_eq!(state, before);
                }
                Err(Refusal::Filled) => {
                    prop_assert!(model.is_some());
                    prop_assert_eq!(state, before);
                }
            }
            let expected = model.as_ref().map(|m| m.iter().filter(|p| **p).count());
            match (state, expected) {
                (State::Fresh, None) => (),
                (State::Partly(n), Some(m)) => prop_assert!(n == m && m < pages),
                (State::Filled, Some(m)) => prop_assert_eq!(m, pages),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// Tiles are taken only where each begins at the end of the one before.
    #[test]
    fn tiles(
        pages in 1usize..64,
        tiles in proptest::collection::vec((any::<bool>(), 0u64..20, any::<u64>()), 0..20),
    ) {
        let extent = extent(pages);
        let mut tiling = Tiling::new(extent);
        let mut next = START as u64;
        for (in_place, count, noise) in tiles {
            let frame = noise >> 1;
            let address = if in_place { next } else { noise };
            let fits = address == next
                && next + count * PAGE_SIZE as u64 <= (START + pages * PAGE_SIZE) as u64;
            match tiling.lay(Tile { address, frame, pages: count }) {
                Ok(Some(span)) => {
                    prop_assert!(fits && count > 0);
                    prop_assert_eq!((START + span.first() * PAGE_SIZE) as u64, next);
                    prop_assert_eq!(span.pages() as u64, count);
                    next += count * PAGE_SIZE as u64;
                }
                Ok(None) => prop_assert!(count == 0 && address == next),
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::Misplaced);
                    prop_assert!(!fits);
                }
            }
        }
    }

    #[test]
    fn frames_do_not_wrap(frame in any::<u64>(), count in any::<u64>()) {
        let mut tiling = Tiling::new(extent(usize::from(u16::MAX)));
        let tile = Tile { address: START as u64, frame, pages: count };
        if tiling.lay(tile).is_ok_and(|span| span.is_some()) {
            prop_assert!(frame.checked_add(count).is_some());
            prop_assert!(count <= u64::from(u16::MAX));
        }
    }
}

/// `finish` wants back what `begin` gave: there is no other way to get one.
#[test]
fn prior_comes_from_begin() {
    fn finish(mut state: State, prior: Prior) -> State {
        state.finish(4, prior, 4);
        state
    }
    let mut state = State::Fresh;
    let span = extent(4).span(START, 4).unwrap();
    let prior = state.begin(4, span, Fill::Whole).unwrap();
    assert_eq!(finish(state, prior), State::Filled);
}
