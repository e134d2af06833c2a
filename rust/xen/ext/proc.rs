// SPDX-License-Identifier: GPL-2.0

//! Directories in /proc to mount something on.
//!
//! C header: `include/linux/proc_fs.h`.

use crate::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// An empty directory in /proc.
///
/// # Invariants
///
/// The entry was made by `proc_create_mount_point()` and not yet removed.
pub struct MountPoint(NonNull<bindings::proc_dir_entry>);

// SAFETY: The kernel guards its tree of entries.
unsafe impl Send for MountPoint {}
// SAFETY: There is nothing to call through a shared reference.
unsafe impl Sync for MountPoint {}

impl MountPoint {
    /// Makes the directory `/proc/<name>`. The name must be new: the kernel warns of one that is
    /// not.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the kernel does not make it; it does not tell why.
    pub fn create(name: &CStr) -> Result<Self> {
        // SAFETY: The name is valid during the call, and copied.
        let entry = unsafe { bindings::proc_create_mount_point(name.as_char_ptr()) };
        // INVARIANT: The entry is new.
        NonNull::new(entry).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}
