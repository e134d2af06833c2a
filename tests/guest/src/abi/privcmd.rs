// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/privcmd`: `include/uapi/xen/privcmd.h`.

use super::{ioc, iow, plain_structs, DomId};

plain_structs! {
    /// Argument of [`HYPERCALL`].
    struct Hypercall = 48 {
        /// Its number.
        op: u64,
        /// Its arguments.
        arg: [u64; 5],
    }
    /// A run of frames for [`MMAP`].
    struct MmapEntry = 24 {
        /// Where to.
        va: u64,
        /// The first frame.
        mfn: u64,
        /// How many.
        npages: u64,
    }
    /// Argument of [`MMAP`].
    struct Mmap = 16 {
        /// How many entries.
        num: i32,
        /// Whose frames.
        dom: DomId,
        /// Nothing.
        pad: u16,
        /// Address of the entries.
        entry: u64,
    }
    /// Argument of [`MMAPBATCH`].
    struct MmapBatch = 24 {
        /// How many frames.
        num: i32,
        /// Whose frames.
        dom: DomId,
        /// Nothing.
        pad: u16,
        /// Where to.
        addr: u64,
        /// Address of the frames; errors come back in their top bits.
        arr: u64,
    }
    /// Argument of [`MMAPBATCH_V2`].
    struct MmapBatchV2 = 32 {
        /// How many frames.
        num: u32,
        /// Whose frames.
        dom: DomId,
        /// Nothing.
        pad: u16,
        /// Where to.
        addr: u64,
        /// Address of the frames.
        arr: u64,
        /// Address of the errors, one for each frame.
        err: u64,
    }
    /// One buffer of a [`DM_OP`].
    struct DmOpBuf = 16 {
        /// Its address.
        uptr: u64,
        /// Its length in bytes.
        size: u64,
    }
    /// Argument of [`DM_OP`].
    struct DmOp = 16 {
        /// Which domain.
        dom: DomId,
        /// How many buffers.
        num: u16,
        /// Nothing.
        pad: u32,
        /// Address of the buffers' descriptions.
        ubufs: u64,
    }
    /// Argument of [`MMAP_RESOURCE`].
    struct MmapResource = 32 {
        /// Whose resource.
        dom: DomId,
        /// Nothing.
        pad: u16,
        /// Which type.
        kind: u32,
        /// Which of that type.
        id: u32,
        /// The first frame.
        idx: u32,
        /// How many; zero asks for the size.
        num: u64,
        /// Where to; zero asks for the size.
        addr: u64,
    }
    /// Argument of [`IRQFD`].
    struct Irqfd = 24 {
        /// Address of the operation.
        dm_op: u64,
        /// Its length in bytes.
        size: u32,
        /// The eventfd.
        fd: u32,
        /// [`DEASSIGN`] or zero.
        flags: u32,
        /// Which domain.
        dom: DomId,
        /// Nothing.
        pad: [u8; 2],
    }
    /// Argument of [`IOEVENTFD`].
    struct Ioeventfd = 48 {
        /// Address of the ioreq page.
        ioreq: u64,
        /// Address of the ports, one for each vCPU.
        ports: u64,
        /// Guest physical address of the device.
        addr: u64,
        /// Length of the access.
        addr_len: u32,
        /// The eventfd.
        event_fd: u32,
        /// How many vCPUs.
        vcpus: u32,
        /// Which virtqueue.
        vq: u32,
        /// [`DEASSIGN`] or zero.
        flags: u32,
        /// Which domain.
        dom: DomId,
        /// Nothing.
        pad: [u8; 2],
    }
    /// Argument of [`PCIDEV_GET_GSI`].
    struct PcidevGetGsi = 8 {
        /// Segment, bus, device and function.
        sbdf: u32,
        /// Out: the interrupt.
        gsi: u32,
    }
}

/// Makes a hypercall.
pub const HYPERCALL: u32 = ioc(b'P', 0, size_of::<Hypercall>());
/// Maps runs of foreign frames.
pub const MMAP: u32 = ioc(b'P', 2, size_of::<Mmap>());
/// Maps foreign frames, errors in place.
pub const MMAPBATCH: u32 = ioc(b'P', 3, size_of::<MmapBatch>());
/// Maps foreign frames, errors apart.
pub const MMAPBATCH_V2: u32 = ioc(b'P', 4, size_of::<MmapBatchV2>());
/// Makes a device-model operation.
pub const DM_OP: u32 = ioc(b'P', 5, size_of::<DmOp>());
/// Narrows the file to a domain.
pub const RESTRICT: u32 = ioc(b'P', 6, size_of::<DomId>());
/// Maps a resource of a domain.
pub const MMAP_RESOURCE: u32 = ioc(b'P', 7, size_of::<MmapResource>());
/// Ties an eventfd to a device-model operation.
pub const IRQFD: u32 = iow(b'P', 8, size_of::<Irqfd>());
/// Ties a queue notification to an eventfd.
pub const IOEVENTFD: u32 = iow(b'P', 9, size_of::<Ioeventfd>());
/// Asks for a PCI device's interrupt.
pub const PCIDEV_GET_GSI: u32 = ioc(b'P', 10, size_of::<PcidevGetGsi>());

/// Undo an [`IRQFD`] or [`IOEVENTFD`].
pub const DEASSIGN: u32 = 1;

impl Ioeventfd {
    /// The argument that undoes this one.
    pub fn undone(self) -> Self {
        Self {
            flags: DEASSIGN,
            ..self
        }
    }
}

/// In a frame after [`MMAPBATCH`]: it could not be mapped.
pub const MFN_ERROR: u64 = 0xf000_0000;
/// In a frame after [`MMAPBATCH`]: it is paged out.
pub const PAGED_ERROR: u64 = 0x8000_0000;
