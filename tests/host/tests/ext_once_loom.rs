// SPDX-License-Identifier: GPL-2.0

//! Several fill a place that is filled once, and look at it: every order of the accesses.

#![cfg(loom)]

use loom::{
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
    thread,
};
use xen_host_tests::ext_once::Once;

/// All find the same, and find it whole.
#[test]
fn all_find_the_same() {
    // Numbers in place of addresses: nobody follows them.
    let pointer = |n: usize| n as *mut u32;
    loom::model(move || {
        let once = Arc::new(Once::new());
        let made = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|n| {
                let (once, made) = (once.clone(), made.clone());
                thread::spawn(move || {
                    made[n - 1].store(7, Ordering::Relaxed);
                    let found = match once.fill(pointer(n)) {
                        Ok(()) => n,
                        Err(former) => former as usize,
                    };
                    assert_eq!(made[found - 1].load(Ordering::Relaxed), 7);
                    found
                })
            })
            .collect();
        let early = once.get() as usize;
        assert!(early == 0 || made[early - 1].load(Ordering::Relaxed) == 7);
        let found: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(found[0], found[1]);
        assert_eq!(once.get() as usize, found[0]);
        assert!(early == 0 || early == found[0]);
    });
}
