// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntalloc`: `include/uapi/xen/gntalloc.h`.

use super::{ioc, plain_structs, DomId};

plain_structs! {
    /// Argument of [`ALLOC_GREF`] without the references that follow it.
    struct AllocGref = 16 {
        /// The domain that may use the pages.
        domid: DomId,
        /// [`WRITABLE`] or zero.
        flags: u16,
        /// How many pages.
        count: u32,
        /// Out: the offset to mmap.
        index: u64,
    }
    /// Argument of [`DEALLOC_GREF`].
    struct DeallocGref = 16 {
        /// The offset that allocating gave.
        index: u64,
        /// How many pages.
        count: u32,
        /// Nothing.
        pad: u32,
    }
}

/// Allocates pages and grants them.
pub const ALLOC_GREF: u32 = ioc(b'G', 5, size_of::<AllocGref>() + 8);
/// Ends such grants.
pub const DEALLOC_GREF: u32 = ioc(b'G', 6, size_of::<DeallocGref>());
/// The other domain may write.
pub const WRITABLE: u16 = 1;
