// SPDX-License-Identifier: GPL-2.0

//! Two threads narrow one file: one of them wins, and both learn who.

#![cfg(loom)]

use loom::{sync::Arc, thread};
use xen_host_tests::{
    domid::DomId,
    restriction::{NarrowError, Restriction},
};

#[test]
fn one_narrowing_wins() {
    loom::model(|| {
        let restriction = Arc::new(Restriction::none());
        let other = restriction.clone();
        let thread = thread::spawn(move || other.narrow(DomId::new(1)));
        let mine = restriction.narrow(DomId::new(2));
        let theirs = thread.join().unwrap();

        match restriction.domain() {
            Some(only) if only == DomId::new(1) => {
                assert_eq!(theirs, Ok(()));
                assert_eq!(mine, Err(NarrowError::Narrowed(DomId::new(1))));
            }
            Some(only) if only == DomId::new(2) => {
                assert_eq!(mine, Ok(()));
                assert_eq!(theirs, Err(NarrowError::Narrowed(DomId::new(2))));
            }
            other => panic!("restricted to {other:?}"),
        }
    });
}
