// SPDX-License-Identifier: GPL-2.0

//! A device model's operations: `DM_OP`.

use crate::ioctl;
use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    dm_op::{
        self,
        UserBuffer,
        FEW, //
    },
    restriction::Authorised, //
};

xen::module_param! {
    /// How many buffers a call may have.
    static MAX_BUFS: u32 = 16, "dm_op_max_nr_bufs", 0o644,
        "Maximum number of buffers per dm_op hypercall";
    /// How long each of them may be, in bytes.
    pub(crate) static BUF_MAX_SIZE: u32 = 4096, "dm_op_buf_max_size", 0o644,
        "Maximum size of a dm_op hypercall buffer";
}

/// `DM_OP`. Returns what Xen returns.
///
/// # Errors
///
/// `E2BIG` for more or longer buffers than the parameters say; `EFAULT` when one is not the
/// caller's, or not writable; `ENOMEM`, `EINTR`.
pub(crate) fn dm_op(right: Authorised<'_>, request: &ioctl::DmOp) -> Result<isize> {
    let count = usize::from(request.num);
    if count == 0 {
        return Ok(0);
    }
    if u32::from(request.num) > MAX_BUFS.get() {
        return Err(E2BIG);
    }
    let max_size = BUF_MAX_SIZE.get() as usize;
    if count <= FEW {
        let mut list = [UserBuffer::default(); FEW];
        let list = list.get_mut(..count).ok_or(E2BIG)?;
        read(request, max_size, list)?;
        dm_op::call(right, list)
    } else {
        let mut list = KVVec::from_elem(UserBuffer::default(), count, GFP_KERNEL)?;
        read(request, max_size, &mut list)?;
        dm_op::call(right, &list)
    }
}

fn read(request: &ioctl::DmOp, max_size: usize, list: &mut [UserBuffer]) -> Result {
    let bytes = size_of_val(list);
    let mut reader = UserSlice::new(UserPtr::from_addr(request.bufs), bytes).reader();
    for buffer in list.iter_mut() {
        *buffer = reader.read()?;
        if buffer.len > max_size {
            return Err(E2BIG);
        }
    }
    Ok(())
}
