// SPDX-License-Identifier: GPL-2.0

//! Pages of a translated domain's own physical address space that stand for foreign frames.
//!
//! Such a page comes from the kernel's pool of addresses without memory behind them, Xen puts a
//! foreign frame there, and the page goes back to the pool when Xen has taken the frame out again.
//!
//! C headers: `include/xen/xen.h`, `xen/include/public/memory.h`.

use crate::{
    bindings,
    ext::task::yield_now, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicUsize,
        Ordering, //
    },
};
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*, //
};

/// Pages that Xen did not let go of, in all. They are lost to the pool.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// How many pages Xen did not let go of since the module was loaded.
pub fn kept_by_xen() -> usize {
    KEPT.load(Ordering::Relaxed)
}

/// Takes as many pages out of the pool as `pages` has room for. Sleeps.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn take(pages: &mut [*mut bindings::page]) -> Result {
    let count = u32::try_from(pages.len()).map_err(|_| EINVAL)?;
    // SAFETY: There is room for `count` pages.
    to_result(unsafe { bindings::xen_rust_alloc_unpopulated_pages(count, pages.as_mut_ptr()) })
        .map_err(|_| ENOMEM)
}

/// Gives pages back to the pool. Sleeps.
///
/// # Safety
///
/// They are from [`take`], nobody else knows them any more, and Xen has no frame there.
pub(super) unsafe fn give_back(pages: &mut [*mut bindings::page]) {
    if pages.is_empty() {
        return;
    }
    // A slice of pages is never longer than what `take` was asked for.
    let count = pages.len() as u32;
    // SAFETY: By the function's contract.
    unsafe { bindings::xen_rust_free_unpopulated_pages(count, pages.as_mut_ptr()) };
}

/// The frame number of a page from [`take`], in this domain's own physical address space.
pub(super) fn pfn(page: *mut bindings::page) -> u64 {
    // SAFETY: Computes with the address only.
    unsafe { bindings::xen_rust_page_to_pfn(page) as u64 }
}

/// How many pages go back to the pool in one go.
const REMOVE: usize = 16;

/// Pages that foreign frames are, or may be, behind of.
///
/// They are chained through themselves, so that a million takes no more memory than one.
///
/// # Invariants
///
/// `first` begins a chain of `len` pages from [`take`], linked by their `private` fields, that
/// belong to this value.
pub(super) struct Backed {
    first: *mut bindings::page,
    len: usize,
}

// SAFETY: The pages belong to the value, and nothing about them is bound to a thread.
unsafe impl Send for Backed {}

impl Backed {
    pub(super) const fn new() -> Self {
        // INVARIANT: No pages at all.
        Self {
            first: ptr::null_mut(),
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The page that was added as number `index`, counted from 0. Takes longer the more have been
    /// added since.
    pub(super) fn nth(&self, index: usize) -> Option<*mut bindings::page> {
        let mut steps = self.len.checked_sub(index.checked_add(1)?)?;
        let mut page = self.first;
        while steps != 0 {
            // SAFETY: By the type invariant there are more pages in the chain.
            page = unsafe { bindings::xen_rust_page_private(page) } as *mut bindings::page;
            steps -= 1;
        }
        Some(page)
    }

    /// Adds `page`.
    ///
    /// # Safety
    ///
    /// It is from [`take`], and the caller gives it up.
    pub(super) unsafe fn push(&mut self, page: *mut bindings::page) {
        // SAFETY: The page is the caller's, hence its private field too.
        unsafe { bindings::xen_rust_set_page_private(page, self.first as usize) };
        // INVARIANT: The chain is one page longer.
        self.first = page;
        self.len += 1;
    }

    /// Takes the page that was added last out.
    fn pop(&mut self) -> Option<*mut bindings::page> {
        if self.len == 0 {
            return None;
        }
        let page = self.first;
        // SAFETY: By the type invariant there is a page, and it is ours.
        let next = unsafe { bindings::xen_rust_page_private(page) };
        // SAFETY: As above. The pool wants the field as it was.
        unsafe { bindings::xen_rust_set_page_private(page, 0) };
        // INVARIANT: The chain is one page shorter.
        self.first = next as *mut bindings::page;
        self.len -= 1;
        Some(page)
    }

    /// Has Xen take the frames behind the `count` pages that were added last away, and gives the
    /// pages back to the pool. Sleeps.
    ///
    /// A page that Xen does not let go of is kept out of the pool for good.
    ///
    /// # Safety
    ///
    /// No page table has these pages any more.
    pub(super) unsafe fn release(&mut self, count: usize) {
        let mut left = count.min(self.len);
        while left != 0 {
            let mut pages = [ptr::null_mut(); REMOVE];
            let mut n = 0;
            for (slot, _) in pages.iter_mut().zip(0..left) {
                if let Some(page) = self.pop() {
                    *slot = page;
                    n += 1;
                }
            }
            // A chain shorter than its length would end it.
            left = if n == 0 { 0 } else { left - n };
            remove_from_physmap(pages.get_mut(..n).unwrap_or_default());
            yield_now();
        }
    }
}

impl Drop for Backed {
    fn drop(&mut self) {
        // SAFETY: The owner of the pages drops them after the mapping that showed them is gone.
        unsafe { self.release(self.len) };
    }
}

/// Has Xen take the frames behind `pages`, at most [`REMOVE`], away, and gives those that it has
/// let go of back to the pool.
fn remove_from_physmap(pages: &mut [*mut bindings::page]) {
    let mut free = [ptr::null_mut(); REMOVE];
    let mut n = 0;
    for page in pages.iter() {
        let mut removal = bindings::xen_remove_from_physmap {
            domid: bindings::DOMID_SELF as u16,
            gpfn: pfn(*page) as bindings::xen_pfn_t,
        };
        // One call for each page: on a translated kernel Xen looks up by hand where each entry of
        // a multicall and its argument are, which takes longer than the calls that it saves.
        // SAFETY: The argument is what the command wants, and lives during the call.
        let result = unsafe {
            bindings::xen_rust_memory_op(
                bindings::XENMEM_remove_from_physmap,
                (&raw mut removal).cast(),
            )
        };
        // "No entry" is as good: there is no frame, as where Xen refused to put one.
        let gone = result == 0 || result == -(bindings::ENOENT as c_int);
        if !gone {
            if KEPT.fetch_add(1, Ordering::Relaxed) == 0 {
                pr_err!(
                    "Xen keeps a foreign frame mapped ({}): its page is lost\n",
                    result
                );
            }
            continue;
        }
        if let Some(slot) = free.get_mut(n) {
            *slot = *page;
            n += 1;
        }
    }
    if let Some(free) = free.get_mut(..n) {
        // SAFETY: The pages were out of every page table already, and Xen has let go of them.
        unsafe { give_back(free) };
    }
}
