// SPDX-License-Identifier: GPL-2.0

//! A pointer is borrowed while its owner takes it back: every order of the accesses.

#![cfg(loom)]

use std::ptr::NonNull;

use loom::{
    sync::{
        atomic::{AtomicBool, AtomicU32, Ordering},
        Arc,
    },
    thread,
};
use xen_host_tests::ext_lent::Lent;

/// Nobody has it borrowed when the owner has it back.
#[test]
fn what_is_borrowed_is_there() {
    loom::model(|| {
        let lent = Arc::new(Lent::<u32>::new());
        let valid = Arc::new(AtomicBool::new(true));
        let pointer = NonNull::dangling().as_ptr();
        assert!(lent.fill(pointer));
        let borrower = {
            let (lent, valid) = (lent.clone(), valid.clone());
            thread::spawn(move || lent.with(|_| assert!(valid.load(Ordering::Relaxed))))
        };
        assert_eq!(lent.empty(thread::yield_now), pointer);
        valid.store(false, Ordering::Relaxed);
        assert!(lent.with(|_| ()).is_none());
        borrower.join().unwrap();
    });
}

/// Who borrows sees what was done before the place was filled, and who empties it what was done by
/// all before.
#[test]
fn what_came_before_is_seen() {
    loom::model(|| {
        let lent = Arc::new(Lent::<u32>::new());
        let (made, used) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let maker = {
            let (lent, made) = (lent.clone(), made.clone());
            thread::spawn(move || {
                made.store(1, Ordering::Relaxed);
                lent.fill(NonNull::dangling().as_ptr())
            })
        };
        let borrower = {
            let (lent, made, used) = (lent.clone(), made.clone(), used.clone());
            thread::spawn(move || {
                lent.with(|_| {
                    assert_eq!(made.load(Ordering::Relaxed), 1);
                    used.store(1, Ordering::Relaxed);
                })
                .is_some()
            })
        };
        let emptied = !lent.empty(thread::yield_now).is_null();
        let seen = used.load(Ordering::Relaxed);
        assert!(!emptied || made.load(Ordering::Relaxed) == 1);
        assert!(maker.join().unwrap());
        let borrowed = borrower.join().unwrap();
        assert!(!(emptied && borrowed) || seen == 1);
    });
}

/// Of two who would fill the place one does.
#[test]
fn is_filled_by_one() {
    loom::model(|| {
        let lent = Arc::new(Lent::<u32>::new());
        let other = lent.clone();
        let thread = thread::spawn(move || other.fill(NonNull::dangling().as_ptr()));
        let mine = lent.fill(NonNull::dangling().as_ptr());
        assert!(mine != thread.join().unwrap());
        assert!(lent.with(|_| ()).is_some());
    });
}
