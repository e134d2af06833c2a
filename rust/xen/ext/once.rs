// SPDX-License-Identifier: GPL-2.0

//! A place that is filled once and for good.
//!
//! # Why it is right
//!
//! The pointer changes once, from null, by an exchange that only one can win. That is a release, and
//! each look an acquire: who finds the pointer finds what it points at as it was when it was put in.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries each
//! order.

use super::atomics::{
    AtomicPtr,
    Ordering, //
};
use core::ptr;

/// A place for a pointer.
pub struct Once<T>(AtomicPtr<T>);

impl<T> Once<T> {
    /// An empty place.
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// An empty place.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// What is there, or null.
    #[inline]
    pub fn get(&self) -> *mut T {
        self.0.load(Ordering::Acquire)
    }

    /// Puts `value`, which is not null, in.
    ///
    /// # Errors
    ///
    /// What is there already, which stays.
    pub fn fill(&self, value: *mut T) -> Result<(), *mut T> {
        self.0
            .compare_exchange(ptr::null_mut(), value, Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
    }
}
