// SPDX-License-Identifier: GPL-2.0

//! The atomics of the code that knows no kernel.
//!
//! Such code takes them from here, so that the same file runs in the kernel, in the host's tests,
//! and there under loom, which replaces them to try every interleaving.

#[cfg(not(loom))]
pub use core::sync::atomic::{
    fence,
    AtomicBool,
    AtomicPtr,
    AtomicU32,
    AtomicU64,
    AtomicU8,
    AtomicUsize,
    Ordering, //
};

#[cfg(loom)]
pub use loom::sync::atomic::{
    fence,
    AtomicBool,
    AtomicPtr,
    AtomicU32,
    AtomicU64,
    AtomicU8,
    AtomicUsize,
    Ordering, //
};
