// SPDX-License-Identifier: GPL-2.0

//! A range is filled page by page, each once.

use kernel::prelude::*;

#[kunit_tests(xen_foreign_range)]
mod tests {
    use xen::range::{
        Extent,
        Fill,
        Pieces,
        Refusal,
        State,
        Tile,
        Tiling,
        PAGE_SIZE, //
    };

    const START: usize = 0x7f00_0000_0000;
    const PAGES: usize = 8;

    fn extent() -> Option<Extent> {
        Extent::new(START, START + PAGES * PAGE_SIZE)
    }

    #[test]
    fn extents_are_whole_pages() {
        assert!(Extent::new(START, START).is_none());
        assert!(Extent::new(START, START + 1).is_none());
        assert!(Extent::new(START + 1, START + PAGE_SIZE + 1).is_none());
        assert!(extent().is_some_and(|e| e.pages() == PAGES));
    }

    #[test]
    fn spans_lie_within() {
        let Some(extent) = extent() else {
            return;
        };
        assert!(extent.span(START, PAGES).is_some());
        assert!(extent.span(START, PAGES + 1).is_none());
        assert!(extent.span(START + PAGE_SIZE, PAGES).is_none());
        assert!(extent.span(START - PAGE_SIZE, 1).is_none());
        assert!(extent.span(START + 1, 1).is_none());
        assert!(extent.span(START, 0).is_none());
        assert!(extent.span(START, usize::MAX).is_none());
        assert!(extent.span(usize::MAX, usize::MAX).is_none());
    }

    #[test]
    fn first_call_fills_all() {
        let (Some(whole), Some(part)) = (
            extent().and_then(|e| e.span(START, PAGES)),
            extent().and_then(|e| e.span(START, PAGES - 1)),
        ) else {
            return;
        };
        let mut state = State::Fresh;
        assert!(state.begin(PAGES, part, Fill::Batch) == Err(Refusal::Misplaced));
        assert!(state.begin(PAGES, part, Fill::Whole) == Err(Refusal::Misplaced));
        assert!(state == State::Fresh);

        let Ok(prior) = state.begin(PAGES, whole, Fill::Batch) else {
            return assert!(false);
        };
        assert!(prior.was_fresh());
        assert!(state.begin(PAGES, whole, Fill::Batch) == Err(Refusal::Busy));
        state.abandon(prior);
        assert!(state == State::Fresh);

        if let Ok(prior) = state.begin(PAGES, whole, Fill::Batch) {
            state.finish(PAGES, prior, PAGES);
        }
        assert!(state == State::Filled);
        assert!(state.begin(PAGES, whole, Fill::Batch) == Err(Refusal::Filled));
    }

    #[test]
    fn later_calls_fill_the_rest() {
        let (Some(whole), Some(two), Some(three)) = (
            extent().and_then(|e| e.span(START, PAGES)),
            extent().and_then(|e| e.span(START + PAGE_SIZE, 2)),
            extent().and_then(|e| e.span(START + PAGE_SIZE, 3)),
        ) else {
            return;
        };
        let mut state = State::Fresh;
        if let Ok(prior) = state.begin(PAGES, whole, Fill::Batch) {
            state.finish(PAGES, prior, PAGES - 2);
        }
        assert!(state == State::Partly(PAGES - 2));
        assert!(state.begin(PAGES, three, Fill::Batch) == Err(Refusal::Filled));
        assert!(state.begin(PAGES, two, Fill::Tiles) == Err(Refusal::Filled));
        assert!(state.begin(PAGES, whole, Fill::Whole) == Err(Refusal::Filled));
        if let Ok(prior) = state.begin(PAGES, two, Fill::Batch) {
            assert!(!prior.was_fresh());
            state.finish(PAGES, prior, 1);
        }
        assert!(state == State::Partly(PAGES - 1));
    }

    #[test]
    fn pieces_cover() {
        let mut next = 0;
        for (at, len) in Pieces::new(1000, 128) {
            assert!(at == next && len <= 128);
            next += len;
        }
        assert!(next == 1000);
        assert!(Pieces::new(0, 128).next().is_none());
        assert!(Pieces::new(5, 0).next().is_none());
    }

    #[test]
    fn tiles_follow_each_other() {
        let Some(extent) = extent() else {
            return;
        };
        let at = |page: usize, pages: u64| Tile {
            address: (START + page * PAGE_SIZE) as u64,
            frame: 7,
            pages,
        };
        let mut tiling = Tiling::new(extent);
        assert!(tiling.lay(at(1, 1)) == Err(Refusal::Misplaced));
        assert!(tiling.lay(at(0, 3)).is_ok_and(|span| span.is_some()));
        assert!(tiling.lay(at(0, 3)) == Err(Refusal::Misplaced));
        assert!(tiling.lay(at(3, 0)) == Ok(None));
        assert!(tiling.lay(at(3, 6)) == Err(Refusal::Misplaced));
        assert!(tiling.lay(at(3, u64::MAX)) == Err(Refusal::Misplaced));
        assert!(tiling.lay(at(3, 5)).is_ok_and(|span| span.is_some()));
        assert!(tiling.lay(at(8, 1)) == Err(Refusal::Misplaced));
    }
}
