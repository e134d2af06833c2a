// SPDX-License-Identifier: GPL-2.0

//! A mapping's handle is in one place, whatever is asked of the slot in whatever order.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::grant_slot::{MappingHandle, Slot};

#[derive(Debug, PartialEq, Eq)]
struct Handle(u32);

struct Proof;

impl MappingHandle for Handle {
    type Released = Proof;
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Occupy,
    Retire,
    Begin,
    Granted,
    Refused,
}

proptest! {
    #[test]
    fn one_place(steps in proptest::collection::vec(
        prop_oneof![
            Just(Step::Occupy), Just(Step::Retire), Just(Step::Begin), Just(Step::Granted),
            Just(Step::Refused),
        ],
        0..64,
    )) {
        let mut slot = Slot::Free;
        // The handle that Xen is being asked about.
        let mut out: Option<Handle> = None;
        // The mapping that Xen holds.
        let mut held: Option<u32> = None;
        let mut retired = false;
        let mut next = 0;

        for step in steps {
            match step {
                Step::Occupy => {
                    next += 1;
                    match slot.occupy(Handle(next)) {
                        Ok(()) => {
                            prop_assert_eq!(held, None);
                            held = Some(next);
                            retired = false;
                        }
                        Err(back) => {
                            prop_assert!(held.is_some());
                            prop_assert_eq!(back, Handle(next));
                        }
                    }
                }
                Step::Retire => {
                    prop_assert_eq!(slot.retire(), held.is_some() && !retired);
                    retired = held.is_some();
                }
                Step::Begin => match slot.begin() {
                    Some(handle) => {
                        prop_assert!(retired && out.is_none());
                        prop_assert_eq!(Some(handle.0), held);
                        out = Some(handle);
                    }
                    None => prop_assert!(held.is_none() || !retired || out.is_some()),
                },
                Step::Granted => if out.take().is_some() {
                    prop_assert!(slot.settle(Ok(Proof)));
                    held = None;
                    retired = false;
                },
                Step::Refused => if let Some(handle) = out.take() {
                    prop_assert!(!slot.settle(Err(handle)));
                },
            }
            prop_assert_eq!(slot.is_free(), held.is_none());
            prop_assert_eq!(slot.is_mapped(), held.is_some() && !retired);
            prop_assert_eq!(slot.is_retiring(), held.is_some() && retired && out.is_none());
        }
    }
}

/// A proof for a slot that nothing was asked about changes nothing.
#[test]
fn stray_proof() {
    let mut slot = Slot::Mapped(Handle(1));
    assert!(!slot.settle(Ok(Proof)));
    assert!(slot.is_mapped());
}
