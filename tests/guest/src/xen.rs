// SPDX-License-Identifier: GPL-2.0

//! What Xen itself says and does, asked by hypercall: the tests' witness, and their source of foreign domains.

pub mod domain;
pub mod event;
pub mod grant;
pub mod symbol;
pub mod vcpu;

pub use domain::{BareDomain, Kind};

use crate::abi::plain_structs;
use crate::device::{HypercallBuffer, Privcmd};
use crate::sys::{Mapping, Plain, Result, PAGE};

/// `__HYPERVISOR_memory_op`.
pub const MEMORY_OP: u64 = 12;
/// `__HYPERVISOR_xen_version`.
pub const XEN_VERSION: u64 = 17;
/// `__HYPERVISOR_event_channel_op`.
pub const EVENT_CHANNEL_OP: u64 = 32;
/// `__HYPERVISOR_sysctl`.
pub const SYSCTL: u64 = 35;
/// `__HYPERVISOR_domctl`.
pub const DOMCTL: u64 = 36;

plain_structs! {
    /// `struct xen_sysctl` with `getdomaininfolist`.
    struct DomainInfoList = 136 {
        cmd: u32,
        interface_version: u32,
        first_domain: u16,
        pad: u16,
        max_domains: u32,
        buffer: u64,
        num_domains: u32,
        pad2: u32,
        rest: [u64; 13],
    }
    /// `struct xen_memory_reservation`.
    struct Reservation = 32 {
        extent_start: u64,
        nr_extents: u64,
        extent_order: u32,
        mem_flags: u32,
        domid: u16,
        pad: [u16; 3],
    }
}

/// `XEN_SYSCTL_INTERFACE_VERSION` of Xen 4.20.
const SYSCTL_VERSION: u32 = 0x15;
const SYSCTL_GETDOMAININFOLIST: u32 = 6;

/// The hypervisor, through an open privcmd.
#[derive(Debug)]
pub struct Xen {
    privcmd: Privcmd,
    /// Memory that a hypercall can use, for the argument and for what it points to.
    buffer: Mapping,
    _file: HypercallBuffer,
}

/// Pages of the buffer: the first holds the argument, the others what it points to.
const BUFFER_PAGES: usize = 17;
/// Where what the argument points to begins.
const DATA: usize = PAGE;

impl Xen {
    /// Opens the devices.
    pub fn open() -> Result<Self> {
        let file = HypercallBuffer::open()?;
        Ok(Self {
            privcmd: Privcmd::open()?,
            buffer: file.pages(BUFFER_PAGES)?,
            _file: file,
        })
    }

    /// The open privcmd.
    pub fn privcmd(&self) -> &Privcmd {
        &self.privcmd
    }

    /// Makes a hypercall with a number and a structure, which it may change.
    ///
    /// The structure must point to nothing but this buffer.
    fn call<T: Plain>(&self, op: u64, command: Option<u64>, argument: &mut T) -> Result<i64> {
        self.buffer.write_at(0, argument);
        let addr = self.buffer.addr() as u64;
        let arg = match command {
            Some(command) => [command, addr, 0, 0, 0],
            None => [addr, 0, 0, 0, 0],
        };
        // SAFETY: The argument is in the buffer and points only into it, as the callers in this module ensure.
        let result = unsafe { self.privcmd.hypercall(op, arg) };
        *argument = self.buffer.read_at(0);
        result
    }

    /// Where in the buffer what an argument points to may be, and how long that is.
    fn buffer_address(&self) -> u64 {
        (self.buffer.addr() + DATA) as u64
    }

    fn buffer_size(&self) -> usize {
        (BUFFER_PAGES - 1) * PAGE
    }

    /// Xen's version: (major, minor).
    pub fn version(&self) -> Result<(u32, u32)> {
        // SAFETY: XENVER_version takes no address.
        let version = unsafe { self.privcmd.hypercall(XEN_VERSION, [0; 5]) }?;
        Ok(((version >> 16) as u32, version as u32 & 0xffff))
    }

    /// A memory operation on frames of a domain; gives the frames as Xen left them.
    fn reserve(
        &self,
        command: u64,
        domid: u16,
        frames: &[u64],
        mem_flags: u32,
    ) -> Result<Vec<u64>> {
        let mut done = Vec::with_capacity(frames.len());
        for chunk in frames.chunks((BUFFER_PAGES - 1) * PAGE / 8) {
            for (i, frame) in chunk.iter().enumerate() {
                self.buffer.write_at(DATA + i * 8, frame);
            }
            let mut argument = Reservation {
                extent_start: (self.buffer.addr() + DATA) as u64,
                nr_extents: chunk.len() as u64,
                mem_flags,
                domid,
                ..Plain::zeroed()
            };
            let n = self.call(MEMORY_OP, Some(command), &mut argument)?;
            if n != chunk.len() as i64 {
                return Err(crate::sys::Errno(libc::ENOMEM));
            }
            done.extend((0..chunk.len()).map(|i| self.buffer.read_at::<u64>(DATA + i * 8)));
        }
        Ok(done)
    }

    /// The domains that exist, the dying included.
    pub fn domains(&self) -> Result<Vec<domain::Info>> {
        let most = (BUFFER_PAGES - 1) * PAGE / size_of::<domain::Info>();
        let mut argument = DomainInfoList {
            cmd: SYSCTL_GETDOMAININFOLIST,
            interface_version: SYSCTL_VERSION,
            max_domains: most as u32,
            buffer: (self.buffer.addr() + DATA) as u64,
            ..Plain::zeroed()
        };
        self.call(SYSCTL, None, &mut argument)?;
        let size = size_of::<domain::Info>();
        Ok((0..argument.num_domains as usize)
            .map(|i| self.buffer.read_at(DATA + i * size))
            .collect())
    }
}
