// SPDX-License-Identifier: GPL-2.0

//! What long work of a system call owes to others.
//!
//! C headers: `include/linux/sched.h`, `include/linux/sched/signal.h`, `include/linux/rcupdate.h`.

use crate::bindings;
use kernel::prelude::*;

/// Lets others run, for use between the steps of work whose length a user chose.
///
/// May sleep.
#[inline]
pub fn yield_now() {
    // SAFETY: May be called wherever sleeping is allowed.
    unsafe { bindings::xen_rust_cond_resched() };
}

/// Waits until all who read under RCU now are done.
///
/// May sleep.
pub fn synchronize_rcu() {
    // SAFETY: May be called wherever sleeping is allowed, and not by a reader.
    unsafe { bindings::synchronize_rcu() };
}

/// As [`yield_now`], and stops the work of a task that is being killed.
///
/// May sleep.
///
/// # Errors
///
/// `EINTR` when a fatal signal is pending.
#[inline]
pub fn checkpoint() -> Result {
    yield_now();
    // SAFETY: Looks at the current task only.
    if unsafe { bindings::xen_rust_fatal_signal_pending() } {
        return Err(EINTR);
    }
    Ok(())
}
