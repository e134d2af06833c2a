// SPDX-License-Identifier: GPL-2.0

//! When to try again what was refused.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// Attempts, and the time between them.
///
/// # Invariants
///
/// `delay` and `attempt` are at least 1.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    delay: u32,
    attempt: u32,
}

/// What to do after a refusal.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this many seconds.
    After(u32),
    /// Leave it until something changes.
    GiveUp,
}

impl Backoff {
    /// Before the first attempt.
    pub const fn new() -> Self {
        // INVARIANT: Both are 1.
        Self {
            delay: 1,
            attempt: 1,
        }
    }

    /// Seconds that the next refusal costs.
    pub const fn delay(&self) -> u32 {
        self.delay
    }

    /// Which attempt it is: 1 for the first.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// An attempt was refused.
    ///
    /// The delay doubles each time, up to `max_delay`, and the attempts end at `max_attempts`,
    /// unless that is 0. After giving up the number of attempts stays to be seen.
    pub fn refused(&mut self, max_delay: u32, max_attempts: u32) -> Next {
        let max_delay = max_delay.max(1);
        if max_attempts != 0 && self.attempt >= max_attempts {
            return Next::GiveUp;
        }
        let delay = self.delay.min(max_delay);
        // INVARIANT: Neither becomes less than 1.
        self.attempt = self.attempt.saturating_add(1);
        self.delay = delay.saturating_mul(2).min(max_delay);
        Next::After(delay)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
