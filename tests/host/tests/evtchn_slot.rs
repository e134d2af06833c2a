// SPDX-License-Identifier: GPL-2.0

//! A slot holds whom it was given to, and lets in no one else.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::evtchn_slot::{FileId, Owner, Slot};

proptest! {
    #[test]
    fn holds_its_owner(file in 0..1u32 << 25, other in 1..1u32 << 24, index in 0..1u32 << 19) {
        let id = FileId::new(file);
        prop_assert_eq!(id.is_some(), file != 0 && file < 1 << 24);
        let Some(id) = id else { return Ok(()) };
        let owner = Owner::new(id, index);
        prop_assert_eq!(owner.is_some(), index < 1 << 18);
        let Some(owner) = owner else { return Ok(()) };
        let other = FileId::new(other).unwrap();

        let slot = Slot::new();
        prop_assert_eq!(slot.owner(), None);
        prop_assert!(slot.enter(id).is_none());
        slot.publish(owner);
        prop_assert_eq!(slot.owner(), Some(owner));
        prop_assert_eq!(slot.owner().map(|o| (o.file(), o.index())), Some((id, index)));
        prop_assert_eq!(slot.enter(other).is_some(), other == id);
        {
            let inside: Vec<_> = (0..3).map(|_| slot.enter(id)).collect();
            prop_assert!(inside.iter().all(Option::is_some));
            prop_assert_eq!(slot.owner(), Some(owner));
            prop_assert!(!slot.is_idle());
            slot.withdraw();
            prop_assert!(slot.enter(id).is_none());
            prop_assert!(!slot.is_idle());
        }
        prop_assert!(slot.is_idle());
        prop_assert_eq!(slot.owner(), None);
    }
}
