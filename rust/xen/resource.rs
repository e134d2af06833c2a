// SPDX-License-Identifier: GPL-2.0

//! Resources of a domain that Xen keeps in frames of its own: grant tables, ioreq servers, traces.
//!
//! C header: `xen/include/public/memory.h`.

use crate::{
    bindings,
    hypercall::preemptible,
    restriction::Authorised, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// Which resource.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    kind: u16,
    id: u32,
}

impl Resource {
    /// An ioreq server's pages (`XENMEM_resource_ioreq_server`).
    pub const IOREQ_SERVER: u16 = bindings::XENMEM_resource_ioreq_server as u16;

    /// Resource `id` of `kind`, one of `XENMEM_resource_*`.
    pub const fn new(kind: u16, id: u32) -> Self {
        Self { kind, id }
    }

    /// Its kind.
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// How many frames it has, of the domain that `right` is for. Calls Xen.
    ///
    /// # Errors
    ///
    /// What Xen says.
    pub fn frames(&self, right: Authorised<'_>) -> Result<u32> {
        let mut count = 0;
        let mut flags = 0;
        // SAFETY: With no room for frames Xen writes their number only.
        to_result(preemptible(|| unsafe {
            bindings::xen_rust_acquire_resource(
                right.domain().raw(),
                self.kind,
                self.id,
                0,
                core::ptr::null_mut(),
                &mut count,
                &mut flags,
            )
        }))?;
        Ok(count)
    }

    /// Acquires as many frames as `frames` has room for, the `at`th on. Calls Xen.
    ///
    /// On a paravirtual kernel Xen writes their machine frame numbers there; on a translated one
    /// it reads from there where in our physical address space it is to put them.
    ///
    /// Returns whether they belong to the calling domain rather than to the one that `right` is
    /// for.
    ///
    /// # Errors
    ///
    /// What Xen says. It may have put some of the frames nevertheless.
    pub(crate) fn acquire(
        &self,
        right: Authorised<'_>,
        at: u64,
        frames: &mut [u64],
    ) -> Result<bool> {
        let mut count = u32::try_from(frames.len()).map_err(|_| EINVAL)?;
        let mut flags = 0;
        // SAFETY: There is room for `count` frames. On a translated kernel the caller has taken
        // the places from the pool.
        to_result(preemptible(|| unsafe {
            bindings::xen_rust_acquire_resource(
                right.domain().raw(),
                self.kind,
                self.id,
                at,
                frames.as_mut_ptr(),
                &mut count,
                &mut flags,
            )
        }))?;
        Ok(flags & bindings::XENMEM_rsrc_acq_caller_owned != 0)
    }
}
