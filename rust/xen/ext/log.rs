// SPDX-License-Identifier: GPL-2.0

//! Messages that user space can bring about as often as it likes.
//!
//! C header: `include/linux/ratelimit.h`.

use crate::bindings;

/// Whether one more of them may go to the kernel's log.
///
/// Ten may within five seconds, for all such messages of the module together; how many were left
/// out the kernel says itself. Works in any context.
pub fn may_tell() -> bool {
    // SAFETY: May be called in any context.
    unsafe { bindings::xen_rust_may_log() }
}
