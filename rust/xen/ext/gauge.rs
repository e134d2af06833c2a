// SPDX-License-Identifier: GPL-2.0

//! A number of things that come and go.
//!
//! # Why it is right
//!
//! What may be refused is compared and added in one exchange: however many add at once, they do not
//! exceed the limit together. The number stands for itself, so no order is needed.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries each
//! order.

use super::atomics::{
    AtomicUsize,
    Ordering, //
};

/// How many there are.
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// None.
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// None.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The number now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many more.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// So many less.
    pub fn sub(&self, n: usize) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// So many more, unless there would be more than `limit` then. Returns whether it did.
    #[must_use]
    pub fn add_within(&self, n: usize, limit: usize) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(n).filter(|&sum| sum <= limit)
            })
            .is_ok()
    }

    /// Replaces a part of the number, which was `old`, by another.
    pub fn change(&self, old: usize, new: usize) {
        self.0.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
    }
}
