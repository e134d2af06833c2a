// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/privcmd`.

use std::os::fd::{AsRawFd, OwnedFd};

use super::device_file;
use crate::abi::{privcmd as abi, DomId};
use crate::sys::{self, Mapping, Plain, Result, PAGE};

/// An open `/dev/xen/privcmd`, or `/proc/xen/privcmd`.
#[derive(Debug)]
pub struct Privcmd {
    fd: OwnedFd,
}

device_file!(Privcmd, "/dev/xen/privcmd");

/// A resource of a domain.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    /// Whose.
    pub dom: DomId,
    /// Which type.
    pub kind: u32,
    /// Which of that type.
    pub id: u32,
}

impl Privcmd {
    /// Makes a hypercall.
    ///
    /// # Safety
    ///
    /// Addresses among the arguments must be of memory that the hypercall may use as it does.
    pub unsafe fn hypercall(&self, op: u64, arg: [u64; 5]) -> Result<i64> {
        let mut call = abi::Hypercall { op, arg };
        sys::ioctl_struct(self, abi::HYPERCALL, &mut call)
    }

    /// Reserves a range for foreign frames.
    pub fn reserve(&self, frames: usize) -> Result<Mapping> {
        Mapping::shared(self, frames * PAGE, 0)
    }

    /// Maps runs of frames (paravirtual only).
    pub fn mmap(&self, dom: DomId, entries: &[abi::MmapEntry]) -> Result<()> {
        let mut argument = abi::Mmap {
            num: entries.len() as i32,
            dom,
            pad: 0,
            entry: entries.as_ptr() as u64,
        };
        sys::ioctl_struct(self, abi::MMAP, &mut argument).map(drop)
    }

    /// Maps frames; errors come back in the frames' top bits.
    pub fn mmap_batch_v1(&self, dom: DomId, addr: usize, frames: &mut [u64]) -> Result<()> {
        let mut argument = abi::MmapBatch {
            num: frames.len() as i32,
            dom,
            pad: 0,
            addr: addr as u64,
            arr: frames.as_mut_ptr() as u64,
        };
        sys::ioctl_struct(self, abi::MMAPBATCH, &mut argument).map(drop)
    }

    /// Maps frames; each has its own error.
    pub fn mmap_batch(
        &self,
        dom: DomId,
        addr: usize,
        frames: &[u64],
        errors: &mut [i32],
    ) -> Result<()> {
        assert_eq!(frames.len(), errors.len());
        let mut argument = abi::MmapBatchV2 {
            num: frames.len() as u32,
            dom,
            pad: 0,
            addr: addr as u64,
            arr: frames.as_ptr() as u64,
            err: errors.as_mut_ptr() as u64,
        };
        sys::ioctl_struct(self, abi::MMAPBATCH_V2, &mut argument).map(drop)
    }

    /// Reserves a range and maps frames that all have to be there.
    pub fn map_frames(&self, dom: DomId, frames: &[u64]) -> Result<Mapping> {
        let range = self.reserve(frames.len())?;
        let mut errors = vec![0; frames.len()];
        self.mmap_batch(dom, range.addr(), frames, &mut errors)?;
        match errors.iter().find(|&&e| e != 0) {
            Some(&error) => Err(sys::Errno(-error)),
            None => Ok(range),
        }
    }

    /// Makes a device-model operation of buffers.
    pub fn dm_op(&self, dom: DomId, buffers: &[abi::DmOpBuf]) -> Result<i64> {
        let mut argument = abi::DmOp {
            dom,
            num: buffers.len() as u16,
            pad: 0,
            ubufs: buffers.as_ptr() as u64,
        };
        sys::ioctl_struct(self, abi::DM_OP, &mut argument)
    }

    /// Makes a device-model operation of one structure, which it may change.
    pub fn dm_op_struct<T: Plain>(&self, dom: DomId, operation: &mut T) -> Result<i64> {
        let uptr = std::ptr::from_mut(operation) as u64;
        self.dm_op(
            dom,
            &[abi::DmOpBuf {
                uptr,
                size: size_of::<T>() as u64,
            }],
        )
    }

    /// Narrows the file to a domain.
    pub fn restrict(&self, dom: DomId) -> Result<()> {
        let mut dom = dom;
        sys::ioctl_struct(self, abi::RESTRICT, &mut dom).map(drop)
    }

    /// The size of a resource in frames.
    pub fn resource_size(&self, resource: Resource) -> Result<u64> {
        let mut argument = resource_argument(resource, 0, 0, 0);
        sys::ioctl_struct(self, abi::MMAP_RESOURCE, &mut argument)?;
        Ok(argument.num)
    }

    /// Maps frames of a resource to an address.
    pub fn map_resource_at(
        &self,
        resource: Resource,
        first: u32,
        frames: u64,
        addr: usize,
    ) -> Result<()> {
        let mut argument = resource_argument(resource, first, frames, addr as u64);
        sys::ioctl_struct(self, abi::MMAP_RESOURCE, &mut argument).map(drop)
    }

    /// Reserves a range and maps frames of a resource.
    pub fn map_resource(&self, resource: Resource, first: u32, frames: usize) -> Result<Mapping> {
        let range = self.reserve(frames)?;
        self.map_resource_at(resource, first, frames as u64, range.addr())?;
        Ok(range)
    }

    /// Ties an eventfd to a device-model operation.
    pub fn irqfd(
        &self,
        dom: DomId,
        eventfd: &impl AsRawFd,
        operation: &[u8],
        flags: u32,
    ) -> Result<()> {
        let mut argument = abi::Irqfd {
            dm_op: operation.as_ptr() as u64,
            size: operation.len() as u32,
            fd: eventfd.as_raw_fd() as u32,
            flags,
            dom,
            pad: [0; 2],
        };
        sys::ioctl_struct(self, abi::IRQFD, &mut argument).map(drop)
    }

    /// Ties a queue notification to an eventfd.
    pub fn ioeventfd(&self, argument: &abi::Ioeventfd) -> Result<()> {
        let mut argument = *argument;
        sys::ioctl_struct(self, abi::IOEVENTFD, &mut argument).map(drop)
    }

    /// The interrupt of a PCI device.
    pub fn gsi_of(&self, sbdf: u32) -> Result<u32> {
        let mut argument = abi::PcidevGetGsi { sbdf, gsi: 0 };
        sys::ioctl_struct(self, abi::PCIDEV_GET_GSI, &mut argument)?;
        Ok(argument.gsi)
    }
}

fn resource_argument(resource: Resource, idx: u32, num: u64, addr: u64) -> abi::MmapResource {
    let Resource { dom, kind, id } = resource;
    abi::MmapResource {
        dom,
        pad: 0,
        kind,
        id,
        idx,
        num,
        addr,
    }
}
