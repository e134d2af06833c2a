// SPDX-License-Identifier: GPL-2.0

//! Pages without memory behind them, for frames of other domains to be placed into.
//!
//! C headers: `include/xen/xen.h`, `include/xen/grant_table.h`.

use crate::{
    bindings,
    ext::{
        few::Few,
        pages::{
            PageStruct,
            Pfn, //
        }, //
    },
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::to_result,
    ffi::c_uint,
    prelude::*, //
};

/// A batch of pages without memory behind them, owned.
///
/// The pages return to the kernel's pool when the batch is dropped. Whoever placed something into
/// a page takes it out before: the next owner expects it empty. A page that cannot be emptied is
/// kept from the pool with [`UnpopulatedPages::keep`].
///
/// # Invariants
///
/// Each non-null element was handed out by the pool to this batch, and not returned.
pub struct UnpopulatedPages {
    pages: Few<*mut PageStruct>,
    origin: Origin,
    /// Whether there are null pointers.
    kept: bool,
}

/// A page of a batch.
///
/// # Invariants
///
/// The page is valid.
#[derive(Copy, Clone)]
pub(crate) struct Unpopulated<'a>(NonNull<PageStruct>, PhantomData<&'a PageStruct>);

impl Unpopulated<'_> {
    /// The page, for functions of the kernel.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut PageStruct {
        self.0.as_ptr()
    }

    /// Where the kernel itself sees it, as Xen is told.
    #[inline]
    pub(crate) fn host_addr(self) -> u64 {
        // SAFETY: By the type invariant.
        unsafe { bindings::xen_rust_grant_host_addr(self.as_ptr()) }
    }

    /// Whether somebody but the batch holds a reference to the page: a page table of user space, or
    /// whoever pinned it.
    #[inline]
    pub(crate) fn is_shared(self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::xen_rust_page_count(self.as_ptr()) > 1 }
    }
}

/// Where pages are from, and go back to.
enum Origin {
    /// The pool.
    Pool,
    /// The pool, marked as such that grants may be in.
    Grants,
    /// Memory for DMA, from behind which the frames were given away.
    #[cfg(all(CONFIG_DMA_SHARED_BUFFER, CONFIG_XEN_GRANT_DMA_ALLOC))]
    Dma {
        device: crate::ext::dma_buf::DmaDevice,
        args: bindings::gnttab_dma_alloc_args,
        frames: Few<bindings::xen_pfn_t>,
    },
}

// SAFETY: Ownership of the pages is not tied to a thread.
unsafe impl Send for UnpopulatedPages {}
// SAFETY: Through a shared reference the pages are only looked at.
unsafe impl Sync for UnpopulatedPages {}

impl UnpopulatedPages {
    /// Takes `count` pages from the pool, which grows as needed.
    ///
    /// `count` must have been checked against a limit. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn alloc(count: usize) -> Result<Self> {
        Self::alloc_for(count, Origin::Pool)
    }

    /// Takes `count` pages that can have grants mapped into them: each can say which grant of
    /// which domain it is.
    ///
    /// As [`UnpopulatedPages::alloc`] otherwise.
    pub fn alloc_for_grants(count: usize) -> Result<Self> {
        Self::alloc_for(count, Origin::Grants)
    }

    fn alloc_for(count: usize, origin: Origin) -> Result<Self> {
        let number = i32::try_from(count).map_err(|_| ENOMEM)?;
        let mut pages = Few::from_fn(count, core::ptr::null_mut)?;
        let room = pages.as_mut_ptr();
        to_result(if matches!(origin, Origin::Grants) {
            // SAFETY: There is room for `count` pointers.
            unsafe { bindings::gnttab_alloc_pages(number, room) }
        } else {
            // SAFETY: As above.
            unsafe { bindings::xen_rust_alloc_unpopulated_pages(number as c_uint, room) }
        })?;
        // INVARIANT: They are what the pool has handed out.
        Ok(Self {
            pages,
            origin,
            kept: false,
        })
    }

    /// Takes `count` pages for grants out of memory that `device` can use for DMA, where the kernel
    /// has a way to: write-combining memory, or coherent.
    ///
    /// As [`UnpopulatedPages::alloc`] otherwise.
    #[cfg(all(CONFIG_DMA_SHARED_BUFFER, CONFIG_XEN_GRANT_DMA_ALLOC))]
    pub fn alloc_for_dma(
        count: usize,
        device: &crate::ext::dma_buf::DmaDevice,
        coherent: bool,
    ) -> Result<Self> {
        let number = i32::try_from(count).map_err(|_| ENOMEM)?;
        let mut pages = Few::from_fn(count, core::ptr::null_mut)?;
        let mut frames = Few::from_fn(count, || 0)?;
        let mut args = bindings::gnttab_dma_alloc_args {
            dev: device.as_raw(),
            coherent,
            nr_pages: number,
            pages: pages.as_mut_ptr(),
            frames: frames.as_mut_ptr(),
            ..Default::default()
        };
        // SAFETY: The arrays have room for `count` elements. On failure nothing stays allocated.
        to_result(unsafe { bindings::gnttab_dma_alloc_pages(&mut args) })?;
        // INVARIANT: They are what was allocated.
        Ok(Self {
            pages,
            origin: Origin::Dma {
                device: device.clone(),
                args,
                frames,
            },
            kept: false,
        })
    }

    /// How many pages there are, the kept ones included.
    #[inline]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The frame of page `index`; [`None`] beyond the end, or when the page is kept.
    #[inline]
    pub fn pfn(&self, index: usize) -> Option<Pfn> {
        // SAFETY: By the type invariant the page is valid.
        Some(unsafe { Pfn::of(self.page(index)?) })
    }

    /// Page `index`; [`None`] beyond the end, or when the page is kept.
    #[inline]
    pub(crate) fn page(&self, index: usize) -> Option<NonNull<PageStruct>> {
        NonNull::new(*self.pages.get(index)?)
    }

    /// The pages from `first` on, [`None`] for those that are kept.
    #[inline]
    pub(crate) fn iter_from(&self, first: usize) -> impl Iterator<Item = Option<Unpopulated<'_>>> {
        let pages = self.pages.get(first..).unwrap_or_default();
        // INVARIANT: The page is one of the batch's.
        let borrow = |&page| Some(Unpopulated(NonNull::new(page)?, PhantomData));
        pages.iter().map(borrow)
    }

    /// Whether page `index` is in a page table of user space.
    #[inline]
    pub fn is_mapped(&self, index: usize) -> bool {
        self.page(index).is_some_and(|page| {
            // SAFETY: By the type invariant the page is valid.
            unsafe { bindings::xen_rust_page_mapped(page.as_ptr()) }
        })
    }

    /// Clears the byte at `offset` of page `index`, in which something writable is mapped.
    ///
    /// Nothing happens beyond the end.
    pub(crate) fn clear_byte(&self, index: usize, offset: usize) {
        if let Some(page) = self.page(index) {
            // SAFETY: The page is valid, and the helper stays within it.
            unsafe { bindings::xen_rust_clear_page_byte(page.as_ptr(), offset as c_uint) };
        }
    }

    /// The pages, for functions of the kernel that read an array of them. Kept ones are null.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *const *mut PageStruct {
        self.pages.as_ptr()
    }

    /// Makes pages forget that something foreign was to be mapped in them, which is not.
    pub(crate) fn clear_foreign(&mut self) {
        for page in self.pages.iter().filter(|page| !page.is_null()) {
            // SAFETY: By the type invariant the page is valid.
            unsafe { bindings::xen_rust_clear_page_foreign(*page) };
        }
    }

    /// Keeps page `index` from the pool for ever, as something in it could not be taken out.
    pub fn keep(&mut self, index: usize) {
        if let Some(page) = self.pages.get_mut(index) {
            *page = core::ptr::null_mut();
            self.kept = true;
        }
    }
}

impl Drop for UnpopulatedPages {
    fn drop(&mut self) {
        #[cfg(all(CONFIG_DMA_SHARED_BUFFER, CONFIG_XEN_GRANT_DMA_ALLOC))]
        if let Origin::Dma {
            device,
            args,
            frames,
        } = &mut self.origin
        {
            // They go back all together, or not at all.
            if !self.kept {
                args.dev = device.as_raw();
                args.pages = self.pages.as_mut_ptr();
                args.frames = frames.as_mut_ptr();
                for page in self.pages.iter() {
                    // The allocator takes no page back that says something.
                    //
                    // SAFETY: None is kept, so by the type invariant the page is valid.
                    unsafe { bindings::xen_rust_clear_page_private(*page) };
                }
                // What cannot be had back from Xen is lost, of which the kernel tells.
                //
                // SAFETY: These are the arguments that the pages were allocated with.
                let _ = unsafe { bindings::gnttab_dma_free_pages(args) };
            }
            return;
        }

        if self.kept {
            match &mut self.pages {
                Few::One(_) => return,
                Few::Many(pages) => pages.retain(|page| !page.is_null()),
            }
        }
        if self.pages.is_empty() {
            return;
        }
        // `alloc_for` has checked that it fits.
        let count = self.pages.len() as c_uint;
        if matches!(self.origin, Origin::Grants) {
            // SAFETY: By the type invariant the pages are this batch's, and are returned once.
            unsafe { bindings::gnttab_free_pages(count as i32, self.pages.as_mut_ptr()) };
        } else {
            // SAFETY: As above.
            unsafe { bindings::xen_rust_free_unpopulated_pages(count, self.pages.as_mut_ptr()) };
        }
    }
}
