// SPDX-License-Identifier: GPL-2.0

//! What kind of domain this kernel runs in.
//!
//! C header: `include/xen/xen.h`. Nothing here sleeps or calls Xen.

use crate::bindings;
use kernel::prelude::*;

pub use crate::domid::DomId;

/// Whether Xen is underneath at all.
#[inline]
pub fn is_xen() -> bool {
    // SAFETY: Reads a variable of the kernel that does not change after boot.
    unsafe { bindings::xen_rust_domain() }
}

/// Whether page tables are written through Xen (a paravirtual domain).
///
/// Otherwise the domain is translated: frames of others are placed into its own physical address
/// space first.
#[inline]
pub fn is_pv() -> bool {
    // SAFETY: Reads a variable of the kernel that does not change after boot.
    unsafe { bindings::xen_rust_pv_domain() }
}

/// Whether this is the domain that Xen started first, with the rights to manage the others.
#[inline]
pub fn is_initial() -> bool {
    // SAFETY: Reads a variable of the kernel that does not change after boot.
    unsafe { bindings::xen_rust_initial_domain() }
}

/// What every driver asks first.
///
/// # Errors
///
/// `ENODEV` when there is no Xen underneath.
pub fn require_xen() -> Result {
    if is_xen() {
        Ok(())
    } else {
        Err(ENODEV)
    }
}
