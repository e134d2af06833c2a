// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate lacks, and these drivers need.
//!
//! Staging for the kernel crate: nothing here knows Xen.

use super::atomics;

pub mod capability;
pub mod counters;
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
pub mod dma_buf;
pub mod errno;
pub mod eventfd;
pub mod fasync;
pub mod few;
pub mod file;
pub mod fs;
pub mod gauge;
pub mod global;
pub mod irq_lock;
pub mod latch;
pub mod lazy;
pub mod lent;
pub mod log;
pub mod misc;
pub mod mm_lock;
pub mod mmu_notifier;
pub mod module;
pub mod once;
pub mod once_box;
pub mod owned_pages;
pub mod pages;
pub mod param;
pub mod pinned;
pub mod pinned_few;
pub mod pinned_one;
pub mod proc;
pub mod resume;
pub mod seq;
pub mod sysfs;
pub mod task;
pub mod transfer;
pub mod user;
pub(crate) mod version;
pub mod vma;
pub mod wait;
pub mod work;
pub mod workqueue;

/// The module this code is linked into.
pub(crate) const fn this_module() -> *mut crate::bindings::module {
    (&raw const kernel::bindings::__this_module).cast_mut()
}
