// SPDX-License-Identifier: GPL-2.0

//! What privcmd tells of single frames. No frame can be paged out on a Xen without memory paging, which is what
//! distributions have, so this is where it is tried.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::privcmd_outcome::Outcome;

const ENOENT: i32 = -2;

#[test]
fn version_1_marks_what_is_not_mapped() {
    assert_eq!(Outcome::of(0).mark(0x1234), None);
    assert_eq!(Outcome::of(ENOENT).mark(0x1234), Some(0x8000_1234));
    assert_eq!(Outcome::of(-22).mark(0x1234), Some(0xf000_1234));
    // A caller that looks at the highest of the four bits finds both.
    assert_eq!(Outcome::of(-3).mark(1 << 40), Some((1 << 40) | 0xf000_0000));
}

proptest! {
    /// One frame is enough for the call to say so, wherever it is.
    #[test]
    fn one_paged_out_is_told(
        before in proptest::collection::vec(-40..=0, 0..150),
        after in proptest::collection::vec(-40..=0, 0..150),
    ) {
        let among = |errors: &[i32]| errors.contains(&ENOENT);
        prop_assert_eq!(Outcome::any_paged_out(&before), among(&before));
        let all = [before, vec![ENOENT], after].concat();
        prop_assert!(Outcome::any_paged_out(&all));
    }

    /// The number can be told from a mark unless it has such bits itself.
    #[test]
    fn marks_keep_the_number(frame in 0u64..0x1000_0000, error in -40..=0) {
        let marked = Outcome::of(error).mark(frame).unwrap_or(frame);
        prop_assert_eq!(marked & 0x0fff_ffff, frame);
        prop_assert_eq!(marked >> 28 != 0, error != 0);
        prop_assert_eq!(marked >> 28 == 8, error == ENOENT);
    }
}
