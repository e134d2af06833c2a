// SPDX-License-Identifier: GPL-2.0

//! Hypercalls.
//!
//! C headers: `include/xen/xen-ops.h`, `arch/x86/include/asm/xen/hypercall.h`.

use crate::{
    bindings,
    ext::errno::enosys,
    restriction::Unrestricted, //
};
use kernel::prelude::*;

/// Marks a hypercall that may run long, so that the scheduler may preempt it on kernels that do
/// not preempt otherwise. The mark ends with the value.
struct Preemptible;

impl Preemptible {
    #[inline]
    fn begin() -> Self {
        // SAFETY: Sets a flag of this CPU; `drop` clears it.
        unsafe { bindings::xen_rust_preemptible_begin() };
        Self
    }
}

impl Drop for Preemptible {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `begin` has set the flag.
        unsafe { bindings::xen_rust_preemptible_end() };
    }
}

/// Runs `call` as a preemptible hypercall. `call` must do nothing but the hypercall.
#[inline]
pub(crate) fn preemptible<R>(call: impl FnOnce() -> R) -> R {
    let _mark = Preemptible::begin();
    call()
}

/// Makes hypercall number `op` on behalf of an unrestricted caller, and returns what Xen returns.
///
/// Negative results are error numbers of Xen, which are Linux's. Addresses among the arguments are
/// the calling process's own: Xen reads and writes its memory with that process's rights.
///
/// May be preempted; does not sleep otherwise.
///
/// # Errors
///
/// `ENOSYS` for a number of more than 32 bits; to others that no hypercall has Xen says the same.
#[inline]
pub fn call(_right: Unrestricted<'_>, op: u64, args: [usize; 5]) -> Result<isize> {
    let op = u32::try_from(op).map_err(|_| enosys())?;
    let [a1, a2, a3, a4, a5] = args;

    // SAFETY: The caller proved by the token that it may make any hypercall; what the hypercall
    // does to the domain is then its own decision, as documented for the device. Xen refuses
    // numbers beyond its table.
    Ok(unsafe { bindings::xen_rust_privcmd_call(op, a1, a2, a3, a4, a5) } as isize)
}
