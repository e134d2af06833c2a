// SPDX-License-Identifier: GPL-2.0

//! `SIGIO` for those who asked for it with `O_ASYNC`.
//!
//! C header: `include/linux/fs.h`.

use crate::bindings;
use kernel::types::Opaque;

/// Who wants `SIGIO` from a file.
///
/// Belongs into the file's data. The kernel takes every entry out before the file is released.
#[repr(transparent)]
pub struct FasyncList(Opaque<*mut bindings::fasync_struct>);

// SAFETY: The kernel guards the list with a lock of its own.
unsafe impl Send for FasyncList {}
// SAFETY: As above.
unsafe impl Sync for FasyncList {}

impl FasyncList {
    /// An empty list.
    pub const fn new() -> Self {
        Self(Opaque::new(core::ptr::null_mut()))
    }

    pub(super) fn as_raw(&self) -> *mut *mut bindings::fasync_struct {
        self.0.get()
    }

    /// Tells everybody in the list that there is something to read.
    ///
    /// May be called from interrupts. Costs a load when the list is empty.
    #[inline]
    pub fn signal_readable(&self) {
        // SAFETY: The list is valid; the function takes the locks it needs, and works in any
        // context.
        unsafe {
            bindings::kill_fasync(
                self.as_raw(),
                bindings::SIGIO as kernel::ffi::c_int,
                bindings::POLL_IN as kernel::ffi::c_int,
            )
        };
    }
}

impl Default for FasyncList {
    fn default() -> Self {
        Self::new()
    }
}
