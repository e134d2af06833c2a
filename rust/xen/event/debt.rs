// SPDX-License-Identifier: GPL-2.0

//! What is owed for a port's events, and who is told of them.
//!
//! An event owes its port an end of interrupt, which exactly one of those who may pay it gets to
//! pay. A port's handler is told of events from when it is enabled on, of one that came before, too.
//!
//! # Why it is right
//!
//! Both facts are bits of one word, which changes by exchanges only: each finds what all before it
//! have left, and sees what they did before. So one alone of those who would pay finds the debt, and
//! an event either finds that the handler is enabled, or is found by who enables it.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries each
//! order.

use super::atomics::{
    AtomicU32,
    Ordering, //
};

/// An event was delivered and not paid for since.
const OWED: u32 = 1;
/// The handler is to be told of events.
const ENABLED: u32 = 2;

/// The end of interrupt of a port.
pub struct Debt(AtomicU32);

impl Debt {
    /// Nothing is owed, and nobody told.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// An event came. Returns whether the handler is to be told.
    ///
    /// The debt is there before anybody is told, who then may pay it at once.
    #[inline]
    pub fn incur(&self) -> bool {
        self.0.fetch_or(OWED, Ordering::AcqRel) & ENABLED != 0
    }

    /// The handler is told of events from now on. Returns whether it is to be told of one that
    /// came before.
    pub fn enable(&self) -> bool {
        self.0.fetch_or(ENABLED, Ordering::AcqRel) & OWED != 0
    }

    /// The handler is told of nothing from now on, but for what is just being told.
    pub fn disable(&self) {
        self.0.fetch_and(!ENABLED, Ordering::Relaxed);
    }

    /// Takes the debt, if there is one, for the caller to pay.
    #[inline]
    pub fn take(&self) -> bool {
        // Most ports that are asked about are owed something: the exchange comes at once.
        self.0.fetch_and(!OWED, Ordering::AcqRel) & OWED != 0
    }

    /// Whether something is owed now.
    #[inline]
    pub fn is_owed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OWED != 0
    }
}
