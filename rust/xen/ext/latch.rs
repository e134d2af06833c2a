// SPDX-License-Identifier: GPL-2.0

//! Something that others wait for.
//!
//! Unlike the kernel's completion this needs no initialisation at run time, so that it can be in a
//! `static`, and is no larger than a number: it waits on one of the wait queues that the kernel
//! keeps for variables.
//!
//! C header: `include/linux/wait_bit.h`.

use crate::bindings;
use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Opens once, and lets everybody through from then on.
pub struct Latch(AtomicU32);

impl Latch {
    /// A closed one.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Opens it. What was done before is seen by those who come through.
    pub fn open(&self) {
        // SAFETY: The variable is valid; the wrapper stores to it with release semantics, and wakes
        // those who wait for it.
        unsafe { bindings::xen_rust_latch_open(self.0.as_ptr()) };
    }

    /// Waits until it is open. Sleeps unless it is.
    ///
    /// # Errors
    ///
    /// `EINTR` when a signal comes first.
    #[inline]
    pub fn wait(&self) -> Result {
        if self.0.load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        // SAFETY: The variable is valid as long as the call lasts.
        to_result(unsafe { bindings::xen_rust_latch_wait(self.0.as_ptr()) }).map_err(|_| EINTR)
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

/// Is open or closed, as often as one likes.
///
/// Opening it is cheap as long as nobody waits.
pub struct Gate(AtomicU32);

impl Gate {
    // The wrapper that waits knows these values.
    const CLOSED: u32 = 0;
    const OPEN: u32 = 1;
    const AWAITED: u32 = 2;

    /// An open one.
    pub const fn new() -> Self {
        Self(AtomicU32::new(Self::OPEN))
    }

    /// Closes it.
    #[inline]
    pub fn close(&self) {
        self.0.store(Self::CLOSED, Ordering::Relaxed);
    }

    /// Opens it, and wakes those who wait for that.
    #[inline]
    pub fn open(&self) {
        if self.0.swap(Self::OPEN, Ordering::AcqRel) == Self::AWAITED {
            // SAFETY: As for `Latch::open`.
            unsafe { bindings::xen_rust_latch_open(self.0.as_ptr()) };
        }
    }

    /// Waits until it is open; it may be closed again by then. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR` when a fatal signal comes first.
    pub fn wait_killable(&self) -> Result {
        // SAFETY: The variable is valid as long as the call lasts.
        to_result(unsafe { bindings::xen_rust_gate_wait(self.0.as_ptr()) }).map_err(|_| EINTR)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
