// SPDX-License-Identifier: GPL-2.0

//! A restriction narrows once and allows just what it says.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::{
    domid::DomId,
    restriction::{NarrowError, Restriction},
};

proptest! {
    /// Whatever is asked in whatever order, the first accepted domain stays, and it alone passes.
    #[test]
    fn first_domain_stays(
        narrow in proptest::collection::vec(any::<u16>(), 0..8),
        ask in proptest::collection::vec(any::<u16>(), 0..32),
    ) {
        let restriction = Restriction::none();
        let mut expected = None;

        for domid in narrow {
            let domid = DomId::new(domid);
            let result = restriction.narrow(domid);
            match (domid.is_reserved(), expected) {
                (true, _) => prop_assert_eq!(result, Err(NarrowError::Reserved)),
                (false, None) => {
                    prop_assert_eq!(result, Ok(()));
                    expected = Some(domid);
                }
                (false, Some(first)) => {
                    prop_assert_eq!(result, Err(NarrowError::Narrowed(first)));
                }
            }
            prop_assert_eq!(restriction.domain(), expected);
        }

        prop_assert_eq!(restriction.unrestricted().is_ok(), expected.is_none());
        for domid in ask.into_iter().map(DomId::new).chain(expected) {
            let allowed = expected.is_none_or(|only| only == domid);
            match restriction.check(domid) {
                Ok(right) => {
                    prop_assert!(allowed);
                    prop_assert_eq!(right.domain(), domid);
                }
                Err(_) => prop_assert!(!allowed),
            }
        }
    }

    /// What does not fit is refused rather than cut.
    #[test]
    fn wide_identifiers(domid in any::<u32>()) {
        match DomId::from_wide(domid) {
            Some(narrow) => prop_assert_eq!(u32::from(narrow.raw()), domid),
            None => prop_assert!(domid > 0xffff),
        }
    }
}
