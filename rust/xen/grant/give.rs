// SPDX-License-Identifier: GPL-2.0

//! Granting frames of this domain to another.
//!
//! C header: `include/xen/grant_table.h`.

use super::Ref;
use crate::{
    bindings,
    restriction::Authorised, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    ffi::c_ulong,
    page::PAGE_SHIFT,
    prelude::*, //
};

/// Grants of frames of this domain to another.
///
/// The frames must stay what they are until [`GivenFrames::end`] says that none is left: until
/// then the other domain may use them.
pub struct GivenFrames {
    refs: KVVec<Ref>,
}

impl GivenFrames {
    /// Room for `count` grants, which must have been checked against a limit.
    pub fn with_capacity(count: usize) -> Result<Self> {
        Ok(Self {
            refs: KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?,
        })
    }

    /// Grants the frame at `address`, as devices see it, for reading and writing.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the grant table is full, `ENOMEM`.
    pub fn give(&mut self, to: Authorised<'_>, address: u64) -> Result {
        self.refs.reserve(1, GFP_KERNEL)?;
        let bfn = usize::try_from(address >> PAGE_SHIFT).map_err(|_| EINVAL)?;
        // SAFETY: Translates a number.
        let gfn = unsafe { bindings::xen_rust_bfn_to_gfn(bfn as c_ulong) };
        // SAFETY: The caller keeps the frame.
        let reference = unsafe { bindings::gnttab_grant_foreign_access(to.domain().raw(), gfn, 0) };
        let reference = u32::try_from(reference).map_err(|_| Error::from_errno(reference))?;
        self.refs
            .push_within_capacity(Ref::new(reference))
            .map_err(|_| ENOMEM)
    }

    /// The references, in order.
    pub fn refs(&self) -> &[Ref] {
        &self.refs
    }

    /// Ends the grants that the other domain does not use now. Returns how many are left.
    pub fn end(&mut self) -> usize {
        self.refs.retain(|reference| {
            // SAFETY: `give` made the grant, and one that has ended is forgotten.
            unsafe { bindings::gnttab_try_end_foreign_access(reference.raw()) == 0 }
        });
        self.refs.len()
    }
}

impl Drop for GivenFrames {
    fn drop(&mut self) {
        for reference in &self.refs {
            // The kernel ends it when it can.
            //
            // SAFETY: `give` made the grant, and it has not ended.
            unsafe { bindings::gnttab_end_foreign_access(reference.raw(), core::ptr::null_mut()) };
        }
    }
}
