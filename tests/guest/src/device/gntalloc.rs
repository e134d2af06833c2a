// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/gntalloc`, which stays the kernel's own: it makes the grants that the tests map.

use std::os::fd::OwnedFd;

use super::device_file;
use crate::abi::{gntalloc as abi, DomId};
use crate::sys::{self, Mapping, Plain, Result, PAGE};

/// An open `/dev/xen/gntalloc`.
#[derive(Debug)]
pub struct Gntalloc {
    fd: OwnedFd,
}

device_file!(Gntalloc, "/dev/xen/gntalloc");

/// Pages granted to another domain and mapped here.
#[derive(Debug)]
pub struct Granted {
    /// The offset that names them.
    pub index: u64,
    /// Their references.
    pub references: Vec<u32>,
    /// The pages.
    pub memory: Mapping,
}

impl Gntalloc {
    /// Allocates pages and grants them to a domain.
    pub fn grant(&self, domid: DomId, count: usize, writable: bool) -> Result<Granted> {
        let header = size_of::<abi::AllocGref>();
        let argument = Mapping::anonymous((header + count * 4).next_multiple_of(PAGE))?;
        let flags = if writable { abi::WRITABLE } else { 0 };
        argument.write_at(
            0,
            &abi::AllocGref {
                domid,
                flags,
                count: count as u32,
                index: 0,
            },
        );
        // SAFETY: The argument has room for as many references as it asks for.
        unsafe { sys::ioctl(self, abi::ALLOC_GREF, argument.addr()) }?;
        let index = argument.read_at::<abi::AllocGref>(0).index;
        let references = (0..count)
            .map(|i| argument.read_at(header + i * 4))
            .collect();
        let memory = Mapping::shared(self, count * PAGE, index)?;
        Ok(Granted {
            index,
            references,
            memory,
        })
    }

    /// Ends grants; the kernel keeps pages that are still in use until they are not.
    pub fn revoke(&self, granted: Granted) -> Result<()> {
        let count = granted.references.len() as u32;
        drop(granted.memory);
        let mut argument = abi::DeallocGref {
            index: granted.index,
            count,
            ..Plain::zeroed()
        };
        sys::ioctl_struct(self, abi::DEALLOC_GREF, &mut argument).map(drop)
    }
}
