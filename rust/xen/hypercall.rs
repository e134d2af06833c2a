// SPDX-License-Identifier: GPL-2.0

//! Hypercalls.
//!
//! C headers: `include/xen/xen-ops.h`, `arch/x86/include/asm/xen/hypercall.h`.

use crate::{
    bindings,
    ext::{
        counters::{
            Counter,
            Counters, //
        },
        errno::enosys, //
    },
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

crate::user_structs! {
    /// A hypercall as `struct privcmd_hypercall` has it: its number, and its arguments.
    pub struct Request {
        /// Its number.
        pub op: u64,
        args: [u64; 5],
    }
}

/// Makes a hypercall on behalf of an unrestricted caller, counts it as `what`, and returns what Xen
/// returns.
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
pub fn call<C: Counter>(
    _right: Unrestricted<'_>,
    request: &Request,
    counters: &Counters<C>,
    what: C,
) -> Result<isize> {
    if request.op > u64::from(u32::MAX) {
        return Err(enosys());
    }
    let count = counters.counter(what);

    // SAFETY: The caller proved by the token that it may make any hypercall; what the hypercall
    // does to the domain is then its own decision, as documented for the device. Xen refuses
    // numbers beyond its table. The request has as many numbers as are read.
    let ret = unsafe {
        bindings::xen_rust_privcmd_call(core::ptr::from_ref(request).cast(), count.slot())
    };
    Ok(ret as isize)
}
