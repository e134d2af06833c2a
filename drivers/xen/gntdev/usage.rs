// SPDX-License-Identifier: GPL-2.0

//! Whether and how a map is mapped.
//!
//! # Why it is right
//!
//! One exchange turns a map from not mapped to mapped, so that of several only one gets it. Giving
//! it back is a release and that exchange an acquire: who gets it next sees all that the former one
//! did.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries each
//! order.

use super::atomics::{
    AtomicU8,
    Ordering, //
};

/// How a map is mapped.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Usage {
    /// For reading.
    ReadOnly = 1,
    /// For reading and writing.
    ReadWrite = 2,
}

/// How a map is mapped, if it is.
///
/// # Invariants
///
/// Zero, or a [`Usage`].
pub struct Use(AtomicU8);

impl Use {
    const NONE: u8 = 0;

    /// It is not.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        // INVARIANT: Zero.
        Self(AtomicU8::new(Self::NONE))
    }

    /// Takes note that it is mapped from now on. Returns false if it is already.
    pub fn begin(&self, usage: Usage) -> bool {
        // INVARIANT: A usage.
        self.0
            .compare_exchange(
                Self::NONE,
                usage as u8,
                Ordering::Acquire,
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Takes note that it is not mapped any more. For who began.
    pub fn end(&self) {
        // INVARIANT: Zero.
        self.0.store(Self::NONE, Ordering::Release);
    }

    /// Whether it is mapped so.
    pub fn is(&self, usage: Usage) -> bool {
        self.0.load(Ordering::Relaxed) == usage as u8
    }
}
