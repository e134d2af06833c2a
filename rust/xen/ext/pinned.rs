// SPDX-License-Identifier: GPL-2.0

//! Pages of the current process, pinned.
//!
//! A pinned page stays where it is while somebody outside of the kernel's page tables uses it: a
//! device, or a hypervisor. Each page has its own dirty flag, so that a page that was only read is
//! not written back for nothing.
//!
//! C header: `include/linux/mm.h`; `Documentation/core-api/pin_user_pages.rst`.

use super::pages::{
    PageStruct,
    Pfn, //
};
use crate::bindings;
use core::{
    mem::MaybeUninit,
    ops::Range,
    ptr::NonNull, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    ffi::c_int,
    page::{
        PAGE_MASK,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// A list of pinned pages.
///
/// Runs are added at the end. All are unpinned when the list is cleared or dropped.
///
/// # Invariants
///
/// Each element of `pages` is pinned by this list once; `dirty` is as long as `pages`.
pub struct PinnedPages {
    pages: KVVec<*mut PageStruct>,
    dirty: KVVec<bool>,
}

// SAFETY: Pins are not tied to the thread that took them.
unsafe impl Send for PinnedPages {}
// SAFETY: Through a shared reference the pages are only looked at.
unsafe impl Sync for PinnedPages {}

/// How many pages the `len` bytes at `addr` touch.
///
/// [`None`] when the range wraps around.
#[inline]
pub fn pages_touched(addr: usize, len: usize) -> Option<usize> {
    if len == 0 {
        return Some(0);
    }
    let last = addr.checked_add(len - 1)?;
    Some(last / PAGE_SIZE - addr / PAGE_SIZE + 1)
}

/// Pins the pages from `addr` on, one for each of `places`, for writing to them if `writable`.
/// Returns how many have been pinned, and whether these are all.
///
/// May sleep, and faults pages in.
///
/// # Errors
///
/// As [`PinnedPages::add`].
#[inline]
pub(super) fn pin_into(
    addr: usize,
    places: &mut [MaybeUninit<*mut PageStruct>],
    writable: bool,
) -> (usize, Result) {
    let flags = if writable { bindings::FOLL_WRITE } else { 0 };
    let mut at = addr & PAGE_MASK;
    let mut done = 0;
    while let Some(room @ [_, ..]) = places.get_mut(done..) {
        let wanted = c_int::try_from(room.len()).unwrap_or(c_int::MAX);
        // SAFETY: There is room for `wanted` pointers. The function checks the addresses.
        let got =
            unsafe { bindings::pin_user_pages_fast(at, wanted, flags, room.as_mut_ptr().cast()) };
        match usize::try_from(got) {
            Ok(got @ 1..) => {
                done += got;
                at = at.wrapping_add(got.wrapping_mul(PAGE_SIZE));
            }
            Ok(0) => return (done, Err(EFAULT)),
            Err(_) => {
                return (
                    done,
                    Err(match Error::from_errno(got) {
                        // Out of memory, or killed: not for the address's sake.
                        e if e == ENOMEM || e == EINTR || e == EAGAIN => e,
                        _ => EFAULT,
                    }),
                );
            }
        }
    }
    (done, Ok(()))
}

impl PinnedPages {
    /// An empty list with room for `capacity` pages, which [`PinnedPages::add`] takes without
    /// allocating.
    ///
    /// May sleep.
    pub fn with_capacity(capacity: usize) -> Result<Self> {
        Ok(Self {
            pages: KVVec::with_capacity(capacity, GFP_KERNEL | __GFP_NOWARN)?,
            dirty: KVVec::with_capacity(capacity, GFP_KERNEL | __GFP_NOWARN)?,
        })
    }

    /// Pins the pages that the `len` bytes at `addr` touch: [`PinnedPages::add`] to an empty list.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::add`].
    pub fn pin(addr: usize, len: usize, writable: bool) -> Result<Self> {
        let count = pages_touched(addr, len).ok_or(EFAULT)?;
        let mut list = Self::with_capacity(count)?;
        list.add(addr, len, writable)?;
        Ok(list)
    }

    /// Pins the pages that the `len` bytes at `addr` of the current process touch, for writing to
    /// them if `writable`, and adds them to the end of the list. Returns their indices.
    ///
    /// `len` must have been checked against a limit: the work and the memory are proportional to
    /// it. May sleep, and faults pages in. On failure the list is as before.
    ///
    /// # Errors
    ///
    /// `EFAULT` when a page is not the process's, or not writable as wanted; `EINTR` when a fatal
    /// signal is pending; `ENOMEM`.
    pub fn add(&mut self, addr: usize, len: usize, writable: bool) -> Result<Range<usize>> {
        let start = self.pages.len();
        let count = pages_touched(addr, len).ok_or(EFAULT)?;
        let end = start.checked_add(count).ok_or(ENOMEM)?;

        self.pages.reserve(count, GFP_KERNEL | __GFP_NOWARN)?;
        self.dirty.reserve(count, GFP_KERNEL | __GFP_NOWARN)?;

        let places = self.pages.spare_capacity_mut();
        let (done, result) = pin_into(addr, places.get_mut(..count).ok_or(ENOMEM)?, writable);
        // SAFETY: The capacity was reserved, and the function has written this many pointers.
        // INVARIANT: They are pinned.
        unsafe { self.pages.inc_len(done) };
        // INVARIANT: The lengths are the same again. The capacity was reserved, so that this cannot
        // fail.
        for _ in 0..done {
            let _ = self.dirty.push_within_capacity(false);
        }
        if let Err(e) = result {
            self.truncate(start);
            return Err(e);
        }
        Ok(start..end)
    }

    /// How many pages are pinned.
    #[inline]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The frame of page `index`, or [`None`] beyond the end.
    #[inline]
    pub fn pfn(&self, index: usize) -> Option<Pfn> {
        let page = NonNull::new(*self.pages.get(index)?)?;
        // SAFETY: A pinned page is valid.
        Some(unsafe { Pfn::of(page) })
    }

    /// Says that page `index` is written to while it is pinned. Beyond the end: nothing.
    #[inline]
    pub fn mark_dirty(&mut self, index: usize) {
        if let Some(dirty) = self.dirty.get_mut(index) {
            *dirty = true;
        }
    }

    /// Says that all pages of a run are written to.
    #[inline]
    pub fn mark_dirty_range(&mut self, range: Range<usize>) {
        if let Some(run) = self.dirty.get_mut(range) {
            run.fill(true);
        }
    }

    /// Unpins all, and keeps the room for others. May sleep.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    fn truncate(&mut self, len: usize) {
        let mut rest = (
            self.pages.get_mut(len..).unwrap_or_default(),
            self.dirty.get(len..).unwrap_or_default(),
        );
        // One call for each run of pages with the same flag.
        while let Some(&dirty) = rest.1.first() {
            let run = rest.1.iter().take_while(|&&d| d == dirty).count();
            let (pages, later) = rest.0.split_at_mut(run.min(rest.0.len()));
            // SAFETY: By the type invariant they are pinned; the truncation below forgets them.
            unsafe {
                bindings::unpin_user_pages_dirty_lock(pages.as_mut_ptr(), pages.len(), dirty)
            };
            rest = (later, rest.1.get(run..).unwrap_or_default());
        }
        self.pages.truncate(len);
        self.dirty.truncate(len);
    }
}

impl Drop for PinnedPages {
    fn drop(&mut self) {
        self.truncate(0);
    }
}
