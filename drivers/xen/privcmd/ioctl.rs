// SPDX-License-Identifier: GPL-2.0

//! The commands of the device, by number and by argument.
//!
//! Source: `include/uapi/xen/privcmd.h`. What user space fills in is read into these structures and
//! checked where it is used; any bits are a valid value of each.

use core::mem::size_of;
use xen::{
    domid::DomId,
    hypercall,
    user_structs, //
};

/// The ioctls have no direction, unlike the usual ones, and carry their size all the same.
const fn ioc(nr: u32, size: usize) -> u32 {
    ((size as u32) << 16) | ((b'P' as u32) << 8) | nr
}

const fn iow(nr: u32, size: usize) -> u32 {
    (1 << 30) | ioc(nr, size)
}

pub(crate) const HYPERCALL: u32 = ioc(0, size_of::<hypercall::Request>());
pub(crate) const MMAP: u32 = ioc(2, size_of::<Mmap>());
pub(crate) const MMAPBATCH: u32 = ioc(3, size_of::<MmapBatch>());
pub(crate) const MMAPBATCH_V2: u32 = ioc(4, size_of::<MmapBatchV2>());
pub(crate) const DM_OP: u32 = ioc(5, size_of::<DmOp>());
pub(crate) const RESTRICT: u32 = ioc(6, size_of::<u16>());
pub(crate) const MMAP_RESOURCE: u32 = ioc(7, size_of::<MmapResource>());
pub(crate) const IRQFD: u32 = iow(8, size_of::<IrqFd>());
pub(crate) const IOEVENTFD: u32 = iow(9, size_of::<IoEventFd>());
pub(crate) const PCIDEV_GET_GSI: u32 = ioc(10, size_of::<PciDevGetGsi>());

// The numbers that the toolstacks were compiled with.
const _: () = assert!(HYPERCALL == 0x0030_5000);
const _: () = assert!(MMAP == 0x0010_5002);
const _: () = assert!(MMAPBATCH == 0x0018_5003);
const _: () = assert!(MMAPBATCH_V2 == 0x0020_5004);
const _: () = assert!(DM_OP == 0x0010_5005);
const _: () = assert!(RESTRICT == 0x0002_5006);
const _: () = assert!(MMAP_RESOURCE == 0x0020_5007);
const _: () = assert!(IRQFD == 0x4018_5008);
const _: () = assert!(IOEVENTFD == 0x4030_5009);
const _: () = assert!(PCIDEV_GET_GSI == 0x0008_500a);

user_structs! {
    pub(crate) struct Mmap {
        pub(crate) num: i32,
        dom: u16,
        _pad: [u8; 2],
        pub(crate) entry: usize,
    }

    pub(crate) struct MmapEntry {
        pub(crate) va: u64,
        pub(crate) mfn: u64,
        pub(crate) npages: u64,
    }

    pub(crate) struct MmapBatch {
        pub(crate) num: i32,
        dom: u16,
        _pad: [u8; 2],
        pub(crate) addr: u64,
        pub(crate) arr: usize,
    }

    pub(crate) struct MmapBatchV2 {
        pub(crate) num: u32,
        dom: u16,
        _pad: [u8; 2],
        pub(crate) addr: u64,
        pub(crate) arr: usize,
        pub(crate) err: usize,
    }

    pub(crate) struct DmOp {
        dom: u16,
        pub(crate) num: u16,
        _pad: [u8; 4],
        pub(crate) bufs: usize,
    }

    pub(crate) struct MmapResource {
        dom: u16,
        _pad: [u8; 2],
        pub(crate) kind: u32,
        pub(crate) id: u32,
        pub(crate) idx: u32,
        pub(crate) num: u64,
        pub(crate) addr: u64,
    }

    pub(crate) struct IrqFd {
        pub(crate) dm_op: u64,
        pub(crate) size: u32,
        pub(crate) fd: u32,
        pub(crate) flags: u32,
        dom: u16,
        _pad: [u8; 2],
    }

    pub(crate) struct IoEventFd {
        pub(crate) ioreq: u64,
        pub(crate) ports: u64,
        pub(crate) addr: u64,
        pub(crate) addr_len: u32,
        pub(crate) event_fd: u32,
        pub(crate) vcpus: u32,
        pub(crate) vq: u32,
        pub(crate) flags: u32,
        dom: u16,
        _pad: [u8; 2],
    }

    pub(crate) struct PciDevGetGsi {
        pub(crate) sbdf: u32,
        pub(crate) gsi: u32,
    }
}

macro_rules! of_domain {
    ($($argument:ty),* $(,)?) => {$(
        impl $argument {
            /// The domain it is about.
            #[inline]
            pub(crate) fn domain(&self) -> DomId {
                DomId::new(self.dom)
            }
        }
    )*};
}

of_domain!(
    Mmap,
    MmapBatch,
    MmapBatchV2,
    DmOp,
    MmapResource,
    IrqFd,
    IoEventFd
);
