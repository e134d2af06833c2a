// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`: `include/uapi/xen/gntdev.h`.

use super::{ioc, plain_structs};

plain_structs! {
    /// One grant of another domain.
    struct GrantRef = 8 {
        /// The domain that granted.
        domid: u32,
        /// Its reference.
        reference: u32,
    }
    /// Argument of [`MAP_GRANT_REF`] without the references that follow it.
    struct MapGrantRef = 16 {
        /// How many references follow.
        count: u32,
        /// Nothing.
        pad: u32,
        /// Out: the offset to mmap.
        index: u64,
    }
    /// Argument of [`UNMAP_GRANT_REF`].
    struct UnmapGrantRef = 16 {
        /// The offset that mapping gave.
        index: u64,
        /// How many grants it had.
        count: u32,
        /// Nothing.
        pad: u32,
    }
    /// Argument of [`GET_OFFSET_FOR_VADDR`].
    struct GetOffsetForVaddr = 24 {
        /// An address inside a mapping.
        vaddr: u64,
        /// Out: the offset of its map.
        offset: u64,
        /// Out: how many grants it has.
        count: u32,
        /// Nothing.
        pad: u32,
    }
    /// Argument of [`SET_UNMAP_NOTIFY`].
    struct UnmapNotify = 16 {
        /// Offset of a byte in a map.
        index: u64,
        /// [`NOTIFY_CLEAR_BYTE`], [`NOTIFY_SEND_EVENT`].
        action: u32,
        /// The port to send through.
        event_channel_port: u32,
    }
    /// One end of a copied segment: an address, or reference, offset and domain of a grant.
    struct CopyEnd = 8 {
        /// Low half of the address, or the reference.
        low: u32,
        /// High half of the address, or the offset in the page and then the domain.
        high: [u16; 2],
    }
    /// One segment of a [`GRANT_COPY`].
    struct CopySegment = 24 {
        /// Where from.
        source: CopyEnd,
        /// Where to.
        dest: CopyEnd,
        /// Bytes.
        len: u16,
        /// Which ends are grants.
        flags: u16,
        /// Out: a GNTST status.
        status: i16,
        /// Nothing.
        pad: u16,
    }
    /// Argument of [`GRANT_COPY`].
    struct GrantCopy = 16 {
        /// How many segments.
        count: u32,
        /// Nothing.
        pad: u32,
        /// Address of the segments.
        segments: u64,
    }
    /// Argument of [`DMABUF_EXP_FROM_REFS`] with one reference.
    struct DmabufExport = 20 {
        /// How to allocate the backing pages.
        flags: u32,
        /// How many references follow.
        count: u32,
        /// Out: the buffer's descriptor.
        fd: u32,
        /// The domain that granted.
        domid: u32,
        /// The reference.
        reference: u32,
    }
    /// Argument of [`DMABUF_EXP_WAIT_RELEASED`].
    struct DmabufWait = 8 {
        /// The buffer's descriptor.
        fd: u32,
        /// How long to wait, in milliseconds.
        wait_to_ms: u32,
    }
    /// Argument of [`DMABUF_IMP_TO_REFS`] with one reference.
    struct DmabufImport = 20 {
        /// The buffer's descriptor.
        fd: u32,
        /// How many references fit.
        count: u32,
        /// The domain to grant to.
        domid: u32,
        /// Zero.
        reserved: u32,
        /// Out: the reference.
        reference: u32,
    }
    /// Argument of [`DMABUF_IMP_RELEASE`].
    struct DmabufRelease = 8 {
        /// The buffer's descriptor.
        fd: u32,
        /// Zero.
        reserved: u32,
    }
}

/// Makes a map of grants, to be mmapped at the offset it gives.
pub const MAP_GRANT_REF: u32 = ioc(b'G', 0, size_of::<MapGrantRef>() + size_of::<GrantRef>());
/// Forgets a map.
pub const UNMAP_GRANT_REF: u32 = ioc(b'G', 1, size_of::<UnmapGrantRef>());
/// Finds the map behind an address.
pub const GET_OFFSET_FOR_VADDR: u32 = ioc(b'G', 2, size_of::<GetOffsetForVaddr>());
/// Long unused.
pub const SET_MAX_GRANTS: u32 = ioc(b'G', 3, 4);
/// Says what to do when a map goes.
pub const SET_UNMAP_NOTIFY: u32 = ioc(b'G', 7, size_of::<UnmapNotify>());
/// Copies between grants and memory.
pub const GRANT_COPY: u32 = ioc(b'G', 8, size_of::<GrantCopy>());
/// Makes a dma-buf of grants.
pub const DMABUF_EXP_FROM_REFS: u32 = ioc(b'G', 9, size_of::<DmabufExport>());
/// Waits until such a dma-buf is gone.
pub const DMABUF_EXP_WAIT_RELEASED: u32 = ioc(b'G', 10, size_of::<DmabufWait>());
/// Grants the pages of a dma-buf.
pub const DMABUF_IMP_TO_REFS: u32 = ioc(b'G', 11, size_of::<DmabufImport>());
/// Ends those grants.
pub const DMABUF_IMP_RELEASE: u32 = ioc(b'G', 12, size_of::<DmabufRelease>());
/// Narrows a file to one domain: `include/uapi/xen_rust/gntdev.h`.
pub const RESTRICT: u32 = ioc(b'G', 64, 2);

/// Write a zero byte when the map goes.
pub const NOTIFY_CLEAR_BYTE: u32 = 1;
/// Send an event when the map goes.
pub const NOTIFY_SEND_EVENT: u32 = 2;

/// The source of a segment is a grant.
pub const COPY_SOURCE_GREF: u16 = 1;
/// The destination of a segment is a grant.
pub const COPY_DEST_GREF: u16 = 2;

/// Status of a grant operation: done.
pub const GNTST_OKAY: i16 = 0;
/// Status of a grant operation: not possible, as when the grant does not permit it.
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// Status of a grant operation: no such domain.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// Status of a grant operation: no such reference.
pub const GNTST_BAD_GNTREF: i16 = -3;

impl CopyEnd {
    /// The end is memory of this program.
    pub fn local(addr: usize) -> Self {
        let addr = addr as u64;
        Self {
            low: addr as u32,
            high: [(addr >> 32) as u16, (addr >> 48) as u16],
        }
    }

    /// The end is a grant of another domain.
    pub fn grant(domid: super::DomId, reference: u32, offset: u16) -> Self {
        Self {
            low: reference,
            high: [offset, domid],
        }
    }
}
