// SPDX-License-Identifier: GPL-2.0

//! Operations of a device model on the domain that it serves.
//!
//! C header: `include/xen/interface/hvm/dm_op.h`, `xen/include/public/hvm/dm_op.h`.

use crate::{
    bindings,
    domid::DomId,
    ext::{
        pinned::{
            pages_touched,
            PinnedPages, //
        },
        pinned_few::PinnedFew,
    },
    hypercall::preemptible,
    restriction::Authorised, //
};
use kernel::{
    error::to_result,
    prelude::*, //
};

crate::user_structs! {
    /// A buffer in the memory of the current process, as `struct privcmd_dm_op_buf` has it.
    #[derive(Default)]
    pub struct UserBuffer {
        /// Where it is.
        pub address: usize,
        /// Its length in bytes.
        pub len: usize,
    }
}

/// As many buffers as need no memory to be allocated for them.
pub const FEW: usize = 4;

/// As many pages as need no memory to be allocated for them: two for each of [`FEW`] buffers that
/// are no longer than a page.
const FEW_PAGES: usize = 2 * FEW;

/// Has Xen do a device model's operation, which the buffers describe, on the domain that `right` is
/// for. Returns what Xen returns.
///
/// Their pages are pinned meanwhile and dirty afterwards: Xen reads and writes them with the rights
/// of the current process, and cannot have them faulted in. Buffers of no length are passed on as
/// they are.
///
/// The number of buffers and their lengths must have been checked against limits. Sleeps, faults
/// pages in, and calls Xen.
///
/// # Errors
///
/// `EFAULT` when a page is not the process's or not writable, `EINTR`, `ENOMEM`.
pub fn call(right: Authorised<'_>, buffers: &[UserBuffer]) -> Result<isize> {
    let mut pages = 0usize;
    for buffer in buffers {
        let touched = pages_touched(buffer.address, buffer.len).ok_or(EFAULT)?;
        pages = pages.checked_add(touched).ok_or(ENOMEM)?;
    }

    if buffers.len() <= FEW && pages <= FEW_PAGES {
        let mut pinned = PinnedFew::<FEW_PAGES>::new();
        let mut list: [bindings::xen_dm_op_buf; FEW] = Default::default();
        for (entry, buffer) in list.iter_mut().zip(buffers) {
            pinned.add(buffer.address, buffer.len).map_err(beyond)?;
            set(entry, buffer);
        }
        return Ok(operate(right, list.get(..buffers.len()).ok_or(EINVAL)?));
    }

    let mut pinned = PinnedPages::with_capacity(pages)?;
    let mut list = KVVec::with_capacity(buffers.len(), GFP_KERNEL)?;
    for buffer in buffers {
        let added = pinned
            .add(buffer.address, buffer.len, true)
            .map_err(beyond)?;
        pinned.mark_dirty_range(added);
        let mut entry = bindings::xen_dm_op_buf::default();
        set(&mut entry, buffer);
        list.push(entry, GFP_KERNEL)?;
    }
    Ok(operate(right, &list))
}

/// What is beyond all addresses is not the process's either.
fn beyond(error: Error) -> Error {
    if error == EOVERFLOW {
        EFAULT
    } else {
        error
    }
}

#[inline]
fn set(entry: &mut bindings::xen_dm_op_buf, buffer: &UserBuffer) {
    // SAFETY: The entry is valid; the wrapper stores both values in it.
    unsafe { bindings::xen_rust_dm_op_buf_set(entry, buffer.address, buffer.len) };
}

#[inline]
fn operate(right: Authorised<'_>, list: &[bindings::xen_dm_op_buf]) -> isize {
    // SAFETY: There are as many entries. Xen only reads them; the buffers they lead to it reads
    // and writes as the current process could.
    let ret = preemptible(|| unsafe {
        bindings::xen_rust_dm_op(right.domain().raw(), list.len() as u32, list.as_ptr())
    });
    ret as isize
}

/// Operations on as much memory as the caller says, which Xen does a piece at a time:
/// `XEN_DMOP_set_mem_type`, `XEN_DMOP_map_mem_type_to_ioreq_server`, `XEN_DMOP_relocate_memory`.
/// (The others of that kind want more than one buffer.)
const LENGTHY: [u32; 3] = [12, 15, 17];

/// An operation to be done time and again, from whatever context.
pub struct Prepared {
    domain: DomId,
    operation: KVec<u8>,
}

impl Prepared {
    /// Prepares the operation that the bytes of its only buffer describe, on the domain that
    /// `right` is for.
    ///
    /// # Errors
    ///
    /// `EINVAL` for an operation that takes Xen the longer the more memory it is about: it could
    /// not be interrupted where it is done.
    pub fn new(right: Authorised<'_>, operation: KVec<u8>) -> Result<Self> {
        let number = operation.first_chunk().copied().map(u32::from_ne_bytes);
        if number.is_some_and(|number| LENGTHY.contains(&number)) {
            return Err(EINVAL);
        }
        Ok(Self {
            domain: right.domain(),
            operation,
        })
    }

    /// Whose domain it is about.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Has Xen do it. Calls Xen; does not sleep.
    ///
    /// # Errors
    ///
    /// What Xen says.
    pub fn run(&self) -> Result {
        let mut entry = bindings::xen_dm_op_buf::default();
        let address = self.operation.as_ptr() as usize;
        // SAFETY: The entry is valid; the wrapper stores both values in it.
        unsafe { bindings::xen_rust_dm_op_buf_set(&mut entry, address, self.operation.len()) };
        // SAFETY: There is one entry, for memory of the kernel that the value owns. An operation
        // that has something to tell is written to by Xen, within its length; nobody reads that,
        // and nobody else has the bytes.
        to_result(unsafe { bindings::xen_rust_dm_op(self.domain.raw(), 1, &entry) })
    }
}
