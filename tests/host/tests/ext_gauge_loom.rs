// SPDX-License-Identifier: GPL-2.0

//! Several take what there is only so much of: every order of the accesses.

#![cfg(loom)]

use loom::{sync::Arc, thread};
use xen_host_tests::ext_gauge::Gauge;

/// Not more than the limit, and nothing is forgotten.
#[test]
fn the_limit_is_kept() {
    const LIMIT: usize = 6;
    loom::model(|| {
        let gauge = Arc::new(Gauge::new());
        let threads: Vec<_> = [3, 4]
            .into_iter()
            .map(|n| {
                let gauge = gauge.clone();
                thread::spawn(move || {
                    let taken = gauge.add_within(n, LIMIT);
                    assert!(gauge.get() <= LIMIT);
                    if taken {
                        gauge.sub(n);
                    }
                    taken
                })
            })
            .collect();
        let taken: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert!(taken.contains(&true));
        assert_eq!(gauge.get(), 0);
    });
}
