// SPDX-License-Identifier: GPL-2.0

//! Machine frames of other domains in the kernel's own address space (paravirtual kernels).

use crate::{
    bindings,
    domid::DomId, //
};
use core::ptr::NonNull;
use kernel::{
    error::from_err_ptr,
    prelude::*, //
};

/// A frame, mapped for the kernel to read and write.
///
/// # Invariants
///
/// `address` maps the frame, and stands for `page` as far as the kernel knows.
pub(super) struct MachineMapping {
    address: NonNull<u8>,
    page: *mut bindings::page,
}

// SAFETY: The mapping is the kernel's, not that of a thread.
unsafe impl Send for MachineMapping {}
// SAFETY: As above.
unsafe impl Sync for MachineMapping {}

impl MachineMapping {
    /// Maps machine frame `frame` of `owner`. Sleeps, and calls Xen.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what Xen says.
    pub(super) fn new(frame: u64, owner: DomId) -> Result<Self> {
        // SAFETY: The function can be called wherever sleeping is allowed.
        let page = unsafe { bindings::xen_rust_alloc_zeroed_page() };
        if page.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: The page is ours.
        let mapped = unsafe { bindings::xen_rust_map_machine_frame(page, frame, owner.raw()) };
        let mapped = from_err_ptr(mapped);
        match mapped.map(|address| NonNull::new(address.cast())) {
            // INVARIANT: It is mapped there.
            Ok(Some(address)) => Ok(Self { address, page }),
            refused => {
                // SAFETY: The page is ours, and mapped nowhere.
                unsafe { bindings::xen_rust_put_page(page) };
                Err(refused.err().unwrap_or(ENOMEM))
            }
        }
    }

    pub(super) fn address(&self) -> NonNull<u8> {
        self.address
    }
}

impl Drop for MachineMapping {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::xen_rust_unmap_machine_frame(self.page, self.address.as_ptr().cast()) };
        // SAFETY: The page is ours, and mapped nowhere any more.
        unsafe { bindings::xen_rust_put_page(self.page) };
    }
}
