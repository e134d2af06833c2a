// SPDX-License-Identifier: GPL-2.0

//! Events come while their port is enabled and paid for: every order of the accesses.

#![cfg(loom)]

use loom::{
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
    thread,
};
use xen_host_tests::event_debt::Debt;

/// An event that comes while the port is being enabled is told of, once, and who tells sees what
/// came before on both sides.
#[test]
fn an_event_is_told_of_once() {
    loom::model(|| {
        let debt = Arc::new(Debt::new());
        let (sent, set_up) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let interrupt = {
            let (debt, sent, set_up) = (debt.clone(), sent.clone(), set_up.clone());
            thread::spawn(move || {
                sent.store(1, Ordering::Relaxed);
                let told = debt.incur();
                assert!(!told || set_up.load(Ordering::Relaxed) == 1);
                told
            })
        };
        set_up.store(1, Ordering::Relaxed);
        let told_by_enabling = debt.enable();
        assert!(!told_by_enabling || sent.load(Ordering::Relaxed) == 1);
        let told_by_interrupt = interrupt.join().unwrap();
        assert!(told_by_enabling != told_by_interrupt);
        assert!(debt.is_owed());
    });
}

/// Two who would pay for one event: one of them does, and sees what came before the event.
#[test]
fn an_event_is_paid_for_once() {
    loom::model(|| {
        let debt = Arc::new(Debt::new());
        let sent = Arc::new(AtomicU32::new(0));
        debt.enable();
        let interrupt = {
            let (debt, sent) = (debt.clone(), sent.clone());
            thread::spawn(move || {
                sent.store(1, Ordering::Relaxed);
                assert!(debt.incur());
            })
        };
        let pay = |debt: &Debt, sent: &AtomicU32| {
            let paid = debt.take();
            assert!(!paid || sent.load(Ordering::Relaxed) == 1);
            u32::from(paid)
        };
        let payer = {
            let (debt, sent) = (debt.clone(), sent.clone());
            thread::spawn(move || pay(&debt, &sent))
        };
        let mine = pay(&debt, &sent);
        interrupt.join().unwrap();
        let paid = mine + payer.join().unwrap();
        assert_eq!(paid + u32::from(debt.take()), 1);
        assert!(!debt.is_owed());
    });
}
