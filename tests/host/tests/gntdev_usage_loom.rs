// SPDX-License-Identifier: GPL-2.0

//! Several map a map and unmap it: every order of the accesses.

#![cfg(loom)]

use loom::{
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
    thread,
};
use xen_host_tests::gntdev_usage::{Usage, Use};

/// One at a time, and the next sees what the former one did.
#[test]
fn one_at_a_time() {
    loom::model(|| {
        let of_map = Arc::new((Use::new(), AtomicU32::new(0)));
        let threads: Vec<_> = [Usage::ReadOnly, Usage::ReadWrite]
            .into_iter()
            .map(|usage| {
                let of_map = of_map.clone();
                thread::spawn(move || {
                    let (use_, done) = &*of_map;
                    if !use_.begin(usage) {
                        return 0;
                    }
                    assert!(use_.is(usage));
                    // Without an exchange: nobody else is here.
                    let before = done.load(Ordering::Relaxed);
                    done.store(before + 1, Ordering::Relaxed);
                    use_.end();
                    1
                })
            })
            .collect();
        let times: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
        let (use_, done) = &*of_map;
        assert!(times >= 1);
        assert!(use_.begin(Usage::ReadOnly));
        assert_eq!(done.load(Ordering::Relaxed), times);
    });
}
