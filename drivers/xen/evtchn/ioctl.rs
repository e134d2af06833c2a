// SPDX-License-Identifier: GPL-2.0

//! The ioctls' numbers, and how their arguments are read.
//!
//! Arguments are read as arrays of the numbers that the structures consist of.
//!
//! Headers: Linux's `include/uapi/xen/evtchn.h`, and `include/uapi/xen_rust/evtchn.h` for
//! [`PORT_STATUS`] and [`PORT_SET_VCPU`].

use kernel::{
    ffi::c_int,
    ioctl::{
        _IO,
        _IOW,
        _IOWR, //
    },
    prelude::*,
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi, //
};
use xen::{
    event::{
        State,
        Status, //
    },
    ext::transfer, //
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

/// Takes and gives [`PortStatus`].
pub(crate) const PORT_STATUS: u32 = _IOWR::<[u32; 10]>(b'E' as u32, 0x80);
/// Takes the port and the vCPU.
pub(crate) const PORT_SET_VCPU: u32 = _IOW::<[u32; 2]>(b'E' as u32, 0x81);

/// `struct xen_evtchn_port_status`, of which the first number is read and all are written.
#[derive(Default)]
pub(crate) struct PortStatus {
    pub(crate) port: u32,
    pub(crate) state: u32,
    pub(crate) remote_domain: u32,
    pub(crate) remote_port: u32,
    pub(crate) interrupt: u32,
    pub(crate) vcpu: u32,
    pub(crate) pending: bool,
    pub(crate) masked: bool,
    pub(crate) events: u64,
}

impl PortStatus {
    const PENDING: u32 = 1 << 0;
    const MASKED: u32 = 1 << 1;

    /// Fills in what Xen knows.
    pub(crate) fn set(&mut self, status: Status) {
        self.vcpu = status.vcpu;
        self.state = match status.state {
            State::Closed => 0,
            State::Unbound(domain) => {
                self.remote_domain = domain.raw().into();
                1
            }
            State::Interdomain(domain, port) => {
                self.remote_domain = domain.raw().into();
                self.remote_port = port.raw();
                2
            }
            State::Physical(interrupt) => {
                self.interrupt = interrupt;
                3
            }
            State::Virtual(interrupt) => {
                self.interrupt = interrupt;
                4
            }
            State::Ipi => 5,
        };
    }

    /// The structure in user space's layout.
    fn to_words(&self) -> [u32; 10] {
        let flags = if self.pending { Self::PENDING } else { 0 }
            | if self.masked { Self::MASKED } else { 0 };
        let events = self.events.to_ne_bytes();
        let [a, b, c, d, e, f, g, h] = events;
        [
            self.port,
            self.state,
            self.remote_domain,
            self.remote_port,
            self.interrupt,
            self.vcpu,
            flags,
            0,
            u32::from_ne_bytes([a, b, c, d]),
            u32::from_ne_bytes([e, f, g, h]),
        ]
    }

    /// Writes the structure to the calling process.
    ///
    /// # Errors
    ///
    /// `EFAULT` for an address that cannot be written.
    pub(crate) fn write(&self, address: usize) -> Result {
        let words = self.to_words();
        UserSlice::new(UserPtr::from_addr(address), size_of_val(&words))
            .writer()
            .write(&words)
    }
}

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

/// Reads an ioctl's argument that is a number, which is shorter.
///
/// # Errors
///
/// `EFAULT` for an address that cannot be read.
#[inline]
pub(crate) fn number(address: usize) -> Result<u32> {
    transfer::read_word(UserPtr::from_addr(address))
}
