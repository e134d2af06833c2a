// SPDX-License-Identifier: GPL-2.0

//! A few pages of the current process, pinned without allocating memory.
//!
//! For what is known to be small; [`PinnedPages`](super::pinned::PinnedPages) for the rest.
//!
//! C header: `include/linux/mm.h`; `Documentation/core-api/pin_user_pages.rst`.

use super::{
    pages::PageStruct,
    pinned::{
        pages_touched,
        pin_into, //
    },
};
use crate::bindings;
use core::mem::MaybeUninit;
use kernel::prelude::*;

/// Up to `N` pages, pinned for writing. They are dirty when they are let go.
///
/// # Invariants
///
/// The first `len` elements of `pages` are initialised, and pinned by this value; `len` does not exceed `N`.
pub struct PinnedFew<const N: usize> {
    pages: [MaybeUninit<*mut PageStruct>; N],
    len: usize,
}

impl<const N: usize> PinnedFew<N> {
    /// None yet.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: None are pinned.
        Self {
            pages: [const { MaybeUninit::uninit() }; N],
            len: 0,
        }
    }

    /// Pins the pages that the `len` bytes at `addr` touch, too. May sleep, and faults pages in.
    ///
    /// # Errors
    ///
    /// `EFAULT` when a page is not the process's or not writable, `ENOSPC` when they are too many,
    /// `EINTR` when a fatal signal is pending, `ENOMEM`. Some may have been pinned nevertheless.
    pub fn add(&mut self, addr: usize, len: usize) -> Result {
        let count = pages_touched(addr, len).ok_or(EFAULT)?;
        let places = self
            .pages
            .get_mut(self.len..)
            .and_then(|room| room.get_mut(..count))
            .ok_or(ENOSPC)?;
        let (done, result) = pin_into(addr, places, true);
        // INVARIANT: The function has pinned that many more.
        self.len += done;
        result
    }
}

impl<const N: usize> Default for PinnedFew<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for PinnedFew<N> {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: By the type invariant.
        unsafe {
            bindings::unpin_user_pages_dirty_lock(self.pages.as_mut_ptr().cast(), self.len, true);
        }
    }
}
