// SPDX-License-Identifier: GPL-2.0

//! A number changes hands while events are sent through it: every order of the accesses.

#![cfg(loom)]

use loom::{
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
    thread,
};
use xen_host_tests::evtchn_slot::{FileId, Owner, Slot};

/// Who waits until nobody is inside sees what those who were have done.
#[test]
fn what_was_done_inside_is_seen() {
    loom::model(|| {
        let file = FileId::new(1).unwrap();
        let slot = Arc::new(Slot::new());
        let sent = Arc::new(AtomicU32::new(0));
        slot.publish(Owner::new(file, 0).unwrap());
        let sender = {
            let (slot, sent) = (slot.clone(), sent.clone());
            thread::spawn(move || {
                let inside = slot.enter(file);
                if inside.is_some() {
                    sent.store(1, Ordering::Relaxed);
                }
                u32::from(inside.is_some())
            })
        };

        slot.withdraw();
        while !slot.is_idle() {
            thread::yield_now();
        }
        let seen = sent.load(Ordering::Relaxed);
        assert_eq!(seen, sender.join().unwrap());
    });
}

/// Senders of two files, while the number goes from the first to the second: an event is sent
/// only while the number is the sender's.
#[test]
fn sends_only_through_its_own() {
    loom::model(|| {
        let (one, two) = (FileId::new(1).unwrap(), FileId::new(2).unwrap());
        let slot = Arc::new(Slot::new());
        // Whose channel Xen takes the number for.
        let channel = Arc::new(AtomicU32::new(one.get()));
        slot.publish(Owner::new(one, 0).unwrap());

        let senders: Vec<_> = [one, two]
            .into_iter()
            .map(|file| {
                let (slot, channel) = (slot.clone(), channel.clone());
                thread::spawn(move || {
                    if let Some(_inside) = slot.enter(file) {
                        assert_eq!(channel.load(Ordering::Relaxed), file.get());
                    }
                })
            })
            .collect();

        slot.withdraw();
        while !slot.is_idle() {
            thread::yield_now();
        }
        channel.store(0, Ordering::Relaxed);
        channel.store(two.get(), Ordering::Relaxed);
        slot.publish(Owner::new(two, 5).unwrap());

        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(slot.owner().map(Owner::file), Some(two));
        assert!(slot.is_idle());
    });
}
