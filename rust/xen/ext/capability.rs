// SPDX-License-Identifier: GPL-2.0

//! What the current process may do.
//!
//! C header: `include/linux/capability.h`.

use crate::bindings;
use kernel::prelude::*;

/// Asks for `CAP_SYS_ADMIN`, in the initial user namespace.
///
/// # Errors
///
/// `EPERM` when the current process does not have it.
pub fn sys_admin() -> Result {
    // SAFETY: May be called by any process.
    if unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as kernel::ffi::c_int) } {
        Ok(())
    } else {
        Err(EPERM)
    }
}
