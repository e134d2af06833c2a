// SPDX-License-Identifier: GPL-2.0

//! File operations that other parts of the kernel export.
//!
//! Each function is inlined, so that only the module that calls it depends on the module that
//! exports the operations.

use crate::{
    bindings,
    ext::file::FileTable, //
};

// Somewhere in it is a lock's class, which is an empty structure on a kernel without lockdep.
#[allow(improper_ctypes)]
extern "C" {
    static xen_privcmd_fops: bindings::file_operations;
}

/// The operations of `/dev/xen/xenbus`, which the kernel itself has.
///
/// C header: `include/xen/xenbus.h`.
#[inline]
pub fn xenbus() -> &'static FileTable {
    // SAFETY: The operations are static, and a `FileTable` is just that.
    unsafe { &*(&raw const bindings::xen_xenbus_fops).cast() }
}

/// The operations of `/dev/xen/privcmd`, of whichever privcmd module there is.
///
/// A module that refers to them is not loaded before that one, and holds it: the operations stay.
#[inline]
pub fn privcmd() -> &'static FileTable {
    // SAFETY: The operations are static, and a `FileTable` is just that.
    unsafe { &*(&raw const xen_privcmd_fops).cast() }
}
