// SPDX-License-Identifier: GPL-2.0

//! Page frames, by number and by `struct page`.
//!
//! C headers: `include/asm-generic/memory_model.h`, `include/linux/page_ref.h`.

use crate::bindings;
use core::ptr::NonNull;

pub use super::vma::PageStruct;

/// A page frame number of this kernel (`pfn`): a physical address in pages.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Pfn(usize);

impl Pfn {
    /// Wraps a number.
    #[inline]
    pub const fn new(pfn: usize) -> Self {
        Self(pfn)
    }

    /// The number.
    #[inline]
    pub const fn raw(self) -> usize {
        self.0
    }

    /// The frame of a page.
    ///
    /// # Safety
    ///
    /// `page` is a valid `struct page`.
    #[inline]
    pub(crate) unsafe fn of(page: NonNull<PageStruct>) -> Self {
        // SAFETY: By the function's contract.
        Self(unsafe { bindings::xen_rust_page_to_pfn(page.as_ptr()) })
    }
}
