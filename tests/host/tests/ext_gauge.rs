// SPDX-License-Identifier: GPL-2.0

//! Numbers of things, up to where they end.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::ext_gauge::Gauge;

proptest! {
    /// It counts as a number that refuses what is too much for it.
    #[test]
    fn counts_within_its_limit(
        limit in any::<usize>(),
        wanted in proptest::collection::vec(prop_oneof![0_usize..100, any::<usize>()], 0..16),
    ) {
        let gauge = Gauge::new();
        let mut expected = 0_usize;
        for n in wanted {
            let fits = expected.checked_add(n).is_some_and(|sum| sum <= limit);
            prop_assert_eq!(gauge.add_within(n, limit), fits);
            if fits {
                expected += n;
            }
            prop_assert_eq!(gauge.get(), expected);
        }
        gauge.change(expected, 7);
        prop_assert_eq!(gauge.get(), 7);
    }
}
