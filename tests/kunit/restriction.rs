// SPDX-License-Identifier: GPL-2.0

//! A restriction narrows once and allows just what it says.

use kernel::prelude::*;

#[kunit_tests(xen_restriction)]
mod tests {
    use xen::{
        domid::DomId,
        restriction::{
            NarrowError,
            Restriction, //
        },
    };

    #[test]
    fn open_file_may_do_all() {
        let restriction = Restriction::none();
        assert!(restriction.domain().is_none());
        assert!(restriction.unrestricted().is_ok());
        assert!(restriction.check(DomId::new(5)).is_ok());
        assert!(restriction.check(DomId::SELF).is_ok());
    }

    #[test]
    fn narrowed_file_may_act_on_one_domain() {
        let restriction = Restriction::none();
        assert!(restriction.narrow(DomId::new(5)).is_ok());
        assert!(restriction.unrestricted().is_err());
        assert!(restriction.check(DomId::new(4)).is_err());
        assert!(restriction.check(DomId::ZERO).is_err());
        assert!(restriction.check(DomId::SELF).is_err());
        assert!(matches!(
            restriction.check(DomId::new(5)),
            Ok(right) if right.domain() == DomId::new(5)
        ));
    }

    #[test]
    fn narrowing_happens_once() {
        let restriction = Restriction::none();
        assert!(restriction.narrow(DomId::FIRST_RESERVED) == Err(NarrowError::Reserved));
        assert!(restriction.domain().is_none());
        assert!(restriction.narrow(DomId::new(7)).is_ok());
        assert!(restriction.narrow(DomId::new(8)) == Err(NarrowError::Narrowed(DomId::new(7))));
        assert!(restriction.narrow(DomId::new(7)) == Err(NarrowError::Narrowed(DomId::new(7))));
        assert!(restriction.domain() == Some(DomId::new(7)));
    }

    #[test]
    fn born_restricted() {
        let restriction = Restriction::to(DomId::IDLE);
        assert!(restriction.unrestricted().is_err());
        assert!(restriction.check(DomId::ZERO).is_err());
        assert!(restriction.narrow(DomId::new(1)).is_err());
    }

    #[test]
    fn wide_identifiers_are_not_cut() {
        assert!(DomId::from_wide(0x1_0000).is_none());
        assert!(DomId::from_wide(0xffff) == Some(DomId::new(0xffff)));
    }
}
