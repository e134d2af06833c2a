// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/gntdev`.

use std::os::fd::{AsRawFd, OwnedFd};

use super::device_file;
use crate::abi::{gntdev as abi, DomId};
use crate::sys::{self, Mapping, Plain, Result, PAGE};

/// An open `/dev/xen/gntdev`.
#[derive(Debug)]
pub struct Gntdev {
    fd: OwnedFd,
}

device_file!(Gntdev, "/dev/xen/gntdev");

impl Gntdev {
    /// Makes a map of one domain's grants; gives the offset to mmap.
    pub fn map(&self, domid: DomId, references: &[u32]) -> Result<u64> {
        let refs: Vec<_> = references
            .iter()
            .map(|&reference| abi::GrantRef {
                domid: domid.into(),
                reference,
            })
            .collect();
        self.map_refs(refs.len() as u32, &refs)
    }

    /// Makes a map with a count that need not be that of the references given.
    pub fn map_refs(&self, count: u32, refs: &[abi::GrantRef]) -> Result<u64> {
        let header = size_of::<abi::MapGrantRef>();
        let size = header + refs.len().max(1) * size_of::<abi::GrantRef>();
        let argument = Mapping::anonymous(size.next_multiple_of(PAGE))?;
        argument.write_at(
            0,
            &abi::MapGrantRef {
                count,
                pad: 0,
                index: u64::MAX,
            },
        );
        for (i, reference) in refs.iter().enumerate() {
            argument.write_at(header + i * size_of::<abi::GrantRef>(), reference);
        }
        // SAFETY: The request reads `count` references and writes the header. A count larger than what is given
        // reads the rest of the page, or past it, where the kernel checks each address.
        unsafe { sys::ioctl(self, abi::MAP_GRANT_REF, argument.addr()) }?;
        Ok(argument.read_at::<abi::MapGrantRef>(0).index)
    }

    /// Forgets a map.
    pub fn unmap(&self, index: u64, count: u32) -> Result<()> {
        let mut argument = abi::UnmapGrantRef {
            index,
            count,
            pad: 0,
        };
        sys::ioctl_struct(self, abi::UNMAP_GRANT_REF, &mut argument).map(drop)
    }

    /// Maps grants writable into memory.
    pub fn mmap(&self, index: u64, count: usize) -> Result<Mapping> {
        Mapping::shared(self, count * PAGE, index)
    }

    /// Maps grants readable into memory.
    pub fn mmap_read_only(&self, index: u64, count: usize) -> Result<Mapping> {
        Mapping::new(
            count * PAGE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            Some(self.as_raw_fd()),
            index,
        )
    }

    /// Makes a map and maps it: (offset, memory).
    pub fn map_memory(&self, domid: DomId, references: &[u32]) -> Result<(u64, Mapping)> {
        let index = self.map(domid, references)?;
        let memory = self.mmap(index, references.len())?;
        Ok((index, memory))
    }

    /// The map behind an address: (offset, number of grants).
    pub fn offset_of(&self, vaddr: usize) -> Result<(u64, u32)> {
        let mut argument = abi::GetOffsetForVaddr {
            vaddr: vaddr as u64,
            ..Plain::zeroed()
        };
        sys::ioctl_struct(self, abi::GET_OFFSET_FOR_VADDR, &mut argument)?;
        Ok((argument.offset, argument.count))
    }

    /// Says what to do when a map goes.
    pub fn notify_unmap(&self, index: u64, action: u32, port: u32) -> Result<()> {
        let mut argument = abi::UnmapNotify {
            index,
            action,
            event_channel_port: port,
        };
        sys::ioctl_struct(self, abi::SET_UNMAP_NOTIFY, &mut argument).map(drop)
    }

    /// Copies segments; each tells its status.
    pub fn copy(&self, segments: &mut [abi::CopySegment]) -> Result<()> {
        let mut argument = abi::GrantCopy {
            count: segments.len() as u32,
            pad: 0,
            segments: segments.as_mut_ptr() as u64,
        };
        sys::ioctl_struct(self, abi::GRANT_COPY, &mut argument).map(drop)
    }

    /// Narrows the file to one domain.
    pub fn restrict(&self, mut domid: DomId) -> Result<()> {
        sys::ioctl_struct(self, abi::RESTRICT, &mut domid).map(drop)
    }
}
