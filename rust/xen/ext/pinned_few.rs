// SPDX-License-Identifier: GPL-2.0

//! A few pages of the current process, pinned without allocating memory.
//!
//! For what is known to be small; [`PinnedPages`](super::pinned::PinnedPages) for the rest.
//!
//! C header: `include/linux/mm.h`; `Documentation/core-api/pin_user_pages.rst`.

use super::{
    pages::PageStruct,
    pinned::pages_touched, //
};
use crate::bindings;
use core::ptr;
use kernel::{
    page::{
        PAGE_MASK,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Up to `N` pages, pinned for writing. They are dirty when they are let go.
///
/// # Invariants
///
/// The first `len` elements of `pages` are pinned by this value; `len` does not exceed `N`.
pub struct PinnedFew<const N: usize> {
    pages: [*mut PageStruct; N],
    len: usize,
}

impl<const N: usize> PinnedFew<N> {
    /// None yet.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: None are pinned.
        Self {
            pages: [ptr::null_mut(); N],
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
        let mut left = pages_touched(addr, len).ok_or(EFAULT)?;
        let mut at = addr & PAGE_MASK;
        while left != 0 {
            let room = self.pages.get_mut(self.len..).unwrap_or_default();
            if room.len() < left {
                return Err(ENOSPC);
            }
            // SAFETY: There is room for `left` pointers. The function checks the addresses.
            let got = unsafe {
                bindings::pin_user_pages_fast(
                    at,
                    left as i32,
                    bindings::FOLL_WRITE,
                    room.as_mut_ptr(),
                )
            };
            match got {
                1.. => {
                    let got = (got as usize).min(left);
                    // INVARIANT: The function has pinned that many more.
                    self.len += got;
                    left -= got;
                    at = at.wrapping_add(got.wrapping_mul(PAGE_SIZE));
                }
                0 => return Err(EFAULT),
                _ => return Err(Error::from_errno(got)),
            }
        }
        Ok(())
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
            bindings::unpin_user_pages_dirty_lock(self.pages.as_mut_ptr(), self.len, true);
        }
    }
}
