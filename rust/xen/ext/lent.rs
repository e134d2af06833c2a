// SPDX-License-Identifier: GPL-2.0

//! A pointer that many borrow for a moment, and whose owner takes it back when none does.
//!
//! # Why it is right
//!
//! Who borrows counts itself in before it looks at the pointer; the owner empties the place before
//! it looks at the count; a fence is between the two on both sides. So of the two one sees what the
//! other did first: whoever finds the pointer is in the count that the owner waits for, and whoever
//! is counted in after the owner has found it zero finds the place empty. Counting out is a release,
//! and the owner's look an acquire: what was done with the pointer has been done.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries each
//! order.

use super::atomics::{
    fence,
    AtomicPtr,
    AtomicUsize,
    Ordering, //
};
use core::ptr;

/// A place for a pointer.
pub struct Lent<T> {
    value: AtomicPtr<T>,
    borrowers: AtomicUsize,
}

impl<T> Lent<T> {
    /// An empty place.
    #[cfg(not(loom))]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            borrowers: AtomicUsize::new(0),
        }
    }

    /// An empty place.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            borrowers: AtomicUsize::new(0),
        }
    }

    /// Puts a pointer, which is not null, into the place. Returns whether that was empty.
    pub fn fill(&self, value: *mut T) -> bool {
        self.value
            .compare_exchange(ptr::null_mut(), value, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Calls `borrow` with the pointer, if there is one: [`Lent::empty`] waits for it to return.
    #[inline]
    pub fn with<R>(&self, borrow: impl FnOnce(*mut T) -> R) -> Option<R> {
        self.borrowers.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let value = self.value.load(Ordering::Acquire);
        let result = (!value.is_null()).then(|| borrow(value));
        self.borrowers.fetch_sub(1, Ordering::Release);
        result
    }

    /// Takes the pointer out, which nobody borrows then. `relax` is called while somebody does.
    pub fn empty(&self, mut relax: impl FnMut()) -> *mut T {
        let value = self.value.swap(ptr::null_mut(), Ordering::AcqRel);
        fence(Ordering::SeqCst);
        while self.borrowers.load(Ordering::Acquire) != 0 {
            relax();
        }
        value
    }
}
