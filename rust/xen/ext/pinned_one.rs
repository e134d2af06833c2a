// SPDX-License-Identifier: GPL-2.0

//! One page of the current process, pinned without allocating memory.
//!
//! See [`PinnedPages`](super::pinned::PinnedPages) for many.
//!
//! C header: `include/linux/mm.h`; `Documentation/core-api/pin_user_pages.rst`.

use super::{
    pages::{
        PageStruct,
        Pfn, //
    },
    pinned::pin_into, //
};
use crate::bindings;
use core::{
    mem::MaybeUninit,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// A pinned page.
///
/// # Invariants
///
/// `page` is pinned by this value once.
pub struct PinnedOne {
    page: NonNull<PageStruct>,
    dirty: bool,
}

impl PinnedOne {
    /// Pins the page that the byte at `addr` of the current process is in, for writing to it if
    /// `writable`. May sleep, and faults the page in.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::add`](super::pinned::PinnedPages::add).
    #[inline]
    pub fn pin(addr: usize, writable: bool) -> Result<Self> {
        let mut place = [const { MaybeUninit::<*mut PageStruct>::uninit() }];
        let (_, result) = pin_into(addr, &mut place, writable);
        result?;
        let [page] = place;
        // SAFETY: All places have been written to.
        let page = unsafe { page.assume_init() };
        // INVARIANT: It has been pinned.
        Ok(Self {
            page: NonNull::new(page).ok_or(EFAULT)?,
            dirty: false,
        })
    }

    /// Its frame.
    #[inline]
    pub fn pfn(&self) -> Pfn {
        // SAFETY: A pinned page is valid.
        unsafe { Pfn::of(self.page) }
    }

    /// Says that it was written to.
    #[inline]
    pub fn mark_dirty(&mut self) {
        self.dirty = true;
    }
}

impl Drop for PinnedOne {
    #[inline]
    fn drop(&mut self) {
        let mut page = self.page.as_ptr();
        // SAFETY: By the type invariant.
        unsafe { bindings::unpin_user_pages_dirty_lock((&raw mut page).cast(), 1, self.dirty) };
    }
}
