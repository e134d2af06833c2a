// SPDX-License-Identifier: GPL-2.0

//! The ioctls' numbers, and how their arguments are read.
//!
//! All arguments are structures of one or two 32-bit numbers, but for RESTRICT_DOMID's.
//!
//! Linux's header: `include/uapi/xen/evtchn.h`.

use kernel::{
    ffi::c_int,
    ioctl::_IO,
    prelude::*,
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi, //
};

/// Linux says of none of its ioctls here that it reads or writes.
const fn plain(nr: u32, size: usize) -> u32 {
    _IO(b'E' as u32, nr) | ((size as u32) << uapi::_IOC_SIZESHIFT)
}

/// Takes the interrupt, returns the port.
pub(crate) const BIND_VIRQ: u32 = plain(0, size_of::<u32>());
/// Takes the remote domain and its port, returns the port.
pub(crate) const BIND_INTERDOMAIN: u32 = plain(1, size_of::<[u32; 2]>());
/// Takes the remote domain, returns the port.
pub(crate) const BIND_UNBOUND_PORT: u32 = plain(2, size_of::<u32>());
/// Takes the port.
pub(crate) const UNBIND: u32 = plain(3, size_of::<u32>());
/// Takes the port.
pub(crate) const NOTIFY: u32 = plain(4, size_of::<u32>());
/// Takes nothing.
pub(crate) const RESET: u32 = plain(5, 0);
/// Takes the domain, in 16 bits.
pub(crate) const RESTRICT_DOMID: u32 = plain(6, size_of::<u16>());
/// Takes the port.
pub(crate) const BIND_STATIC: u32 = plain(7, size_of::<u32>());

/// `ENOTCONN`: the port is not the file's. Not all kernels' Rust names it.
pub(crate) fn not_connected() -> Error {
    Error::from_errno(-(uapi::ENOTCONN as c_int))
}

/// `EISCONN`: the port is the file's already.
pub(crate) fn is_connected() -> Error {
    Error::from_errno(-(uapi::EISCONN as c_int))
}

/// Reads an ioctl's argument from the calling process.
///
/// # Errors
///
/// `EFAULT` for an address that cannot be read.
#[inline]
pub(crate) fn argument<T: FromBytes>(address: usize) -> Result<T> {
    UserSlice::new(UserPtr::from_addr(address), size_of::<T>())
        .reader()
        .read()
}
