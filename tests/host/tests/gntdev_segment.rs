// SPDX-License-Identifier: GPL-2.0

//! Segments are what user space wrote, stay within granted pages, and are cut at pages.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::gntdev_segment::{Piece, Place, Segment, PAGE, PIECES_MAX};

fn grant(reference: u32, offset: u16, domid: u16) -> u64 {
    u64::from(reference) | (u64::from(offset) << 32) | (u64::from(domid) << 48)
}

fn rest(len: u16, flags: u16) -> u64 {
    u64::from(len) | (u64::from(flags) << 16) | (0xabcd << 32)
}

proptest! {
    /// Any bytes at all: what is taken keeps to the pages, and its pieces are the whole of it.
    #[test]
    fn anything(raw in any::<[u64; 3]>(), flags in 0u16..5, short in any::<bool>()) {
        let len = if short { raw[2] as u16 % 5000 } else { raw[2] as u16 };
        let Some(segment) = Segment::read([raw[0], raw[1], rest(len, flags)]) else {
            let offset = |raw: u64| (raw >> 32) as u16;
            let outside = |raw| u64::from(offset(raw)) + u64::from(len) > PAGE;
            prop_assert!(
                flags & 3 == 0
                    || (flags & 1 != 0 && outside(raw[0]))
                    || (flags & 2 != 0 && outside(raw[1]))
            );
            return Ok(());
        };
        prop_assert_eq!(segment.len, len);
        prop_assert!(u64::from(len) <= PAGE);
        let pieces: Vec<Piece> = segment.pieces().collect();
        prop_assert_eq!(segment.is_one_piece(), pieces.len() == 1);
        prop_assert!(pieces.len() <= PIECES_MAX);
        prop_assert_eq!(pieces.is_empty(), len == 0);
        let mut at = 0;
        for piece in pieces {
            prop_assert_eq!(piece.at, at);
            at += piece.len;
            for place in [segment.source, segment.dest] {
                let first = match place {
                    Place::Grant { offset, .. } => u64::from(offset),
                    Place::Local(address) => address % PAGE,
                };
                let first = (first + u64::from(piece.at)) % PAGE;
                prop_assert!(first + u64::from(piece.len) <= PAGE);
            }
        }
        prop_assert_eq!(at, len);
    }

    #[test]
    fn fields(address in any::<u64>(), reference in any::<u32>(), offset in 0u16..4096, domid in any::<u16>()) {
        let len = (PAGE as u16) - offset;
        let there = Place::Grant { domid, reference, offset };
        let raw = grant(reference, offset, domid);
        let read = |source, dest, flags| Segment::read([source, dest, rest(len, flags)]).unwrap();
        let segment = read(raw, address, 1);
        prop_assert_eq!(segment, Segment { source: there, dest: Place::Local(address), len });
        prop_assert_eq!(segment.local(), Some((address, true)));
        let segment = read(address, raw, 2);
        prop_assert_eq!(segment, Segment { source: Place::Local(address), dest: there, len });
        prop_assert_eq!(segment.local(), Some((address, false)));
        let segment = read(raw, raw, 3);
        prop_assert_eq!(segment, Segment { source: there, dest: there, len });
        prop_assert_eq!(segment.local(), None);
        prop_assert_eq!(segment.pieces().count(), 1);
        // One byte more leaves the page.
        prop_assert_eq!(Segment::read([raw, address, rest(len + 1, 1)]), None);
    }
}
