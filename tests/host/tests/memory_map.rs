// SPDX-License-Identifier: GPL-2.0

//! How much memory a domain's map is about.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::memory_map::{bytes, Range};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const RESERVED: u32 = 2;

fn ram(start: u64, size: u64) -> Range {
    Range {
        start,
        size,
        kind: Range::RAM,
    }
}

fn other(start: u64, size: u64) -> Range {
    Range {
        start,
        size,
        kind: RESERVED,
    }
}

#[test]
fn what_lies_below_the_devices_counts_from_0() {
    assert_eq!(bytes(&[]), 0);
    assert_eq!(bytes(&[ram(0, 96 * MIB)]), 96 * MIB);
    assert_eq!(bytes(&[ram(MIB, 95 * MIB)]), 96 * MIB);
    assert_eq!(bytes(&[ram(0, 640 << 10), ram(MIB, 95 * MIB)]), 96 * MIB);
}

#[test]
fn what_lies_above_them_is_added() {
    let map = [
        ram(0, 3 * GIB),
        other(0xfeff_8000, 8 << 12),
        ram(4 * GIB, 5 * GIB),
    ];
    assert_eq!(bytes(&map), 8 * GIB);
}

proptest! {
    /// Nothing makes it panic, and what is no memory does not count.
    #[test]
    fn any_map(map in proptest::collection::vec((any::<u64>(), any::<u64>(), 0..3u32), 0..8)) {
        let range = |&(start, size, kind): &_| Range { start, size, kind };
        let map: Vec<_> = map.iter().map(range).collect();
        let memory: Vec<_> = map.iter().copied().filter(|r| r.kind == Range::RAM).collect();
        prop_assert_eq!(bytes(&map), bytes(&memory));
    }
}
