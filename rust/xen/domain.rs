// SPDX-License-Identifier: GPL-2.0

//! What kind of domain this kernel runs in.
//!
//! C header: `include/xen/xen.h`. Nothing here sleeps or calls Xen.

use crate::{
    bindings,
    restriction::Unrestricted, //
};
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

/// Whether the kernel is locked down against what privileged users do to Xen.
pub fn is_locked_down() -> bool {
    // SAFETY: Asks the security modules about the current task; may sleep.
    unsafe { bindings::xen_rust_locked_down_xen() != 0 }
}

/// The GSI of the PCI device `sbdf` (segment, bus, device, function), as ACPI tells.
///
/// Asked for by whoever has the current process's hands free of any domain's: it is about the
/// machine. Does not sleep.
///
/// # Errors
///
/// `EINVAL` where ACPI has none, `EOPNOTSUPP` while no backend driver knows the devices, and what
/// that driver says: `ENODEV` for a device that it does not have.
pub fn pci_device_gsi(_right: Unrestricted<'_>, sbdf: u32) -> Result<u32> {
    /// What the backend has for a device that ACPI knows no GSI of. It is no error number.
    const NONE: i32 = -1;

    // SAFETY: Looks the device up.
    match unsafe { bindings::xen_rust_gsi_from_sbdf(sbdf) } {
        NONE => Err(EINVAL),
        gsi => u32::try_from(gsi).map_err(|_| Error::from_errno(gsi)),
    }
}
