// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/hypercall`: memory for the arguments of hypercalls.
//!
//! Its pages are there from the start and stay where they are, so that Xen can access them at any
//! time. The page tables that show a page own it: it is freed when the last mapping of it goes.

use crate::stats::{
    Call,
    CALLS, //
};
use kernel::{
    fs::File,
    mm::virt::{
        flags,
        VmaNew,
        VmaRef, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
};
use xen::ext::{
    file::{
        FileOperations,
        OpenFile, //
    },
    gauge::Gauge,
    owned_pages::fill_with_zeroed_pages,
    vma::{
        MappingState,
        VmaTable, //
    },
};

xen::module_param! {
    /// How many pages there may be in all mappings together.
    static LIMIT: u32 = 65536, "hypercall_buffer_pages", 0o644,
        "Maximum number of pages in all mappings of /dev/xen/hypercall together";
}

/// Tells mappings of this device from all others.
static MAPPINGS: VmaTable<Mapping> = VmaTable::new();

/// Pages in all mappings; one that fork has given to a child counts for both.
static PAGES: Gauge = Gauge::new();

fn pages(vma: &VmaRef) -> usize {
    vma.end().saturating_sub(vma.start()) / PAGE_SIZE
}

/// There is nothing to remember of a mapping: its pages are in the page tables.
struct Mapping;

impl MappingState for Mapping {
    fn opened(self: ArcBorrow<'_, Self>, vma: &VmaRef) {
        // The two halves of a split have as many pages as the whole had.
        if !MAPPINGS.is_split_off(vma) {
            PAGES.add(pages(vma));
        }
    }

    fn closed(self: ArcBorrow<'_, Self>, vma: &VmaRef) {
        PAGES.sub(pages(vma));
    }
}

/// What belongs to an open file: nothing.
pub(crate) struct BufFile;

#[vtable]
impl FileOperations for BufFile {
    type Data = ();

    fn open(_file: &OpenFile<'_>) -> Result {
        Ok(())
    }

    fn mmap((): (), _file: &File, vma: &VmaNew) -> Result {
        CALLS.inc(Call::Buffer);
        if vma.flags() & flags::SHARED == 0 {
            return Err(EINVAL);
        }
        let count = pages(vma);
        if !PAGES.add_within(count, LIMIT.get() as usize) {
            return Err(ENOMEM);
        }

        let filled = fill(vma);
        if filled.is_err() {
            // The mapping is not ours yet: nobody will close it.
            PAGES.sub(count);
        }
        filled
    }
}

fn fill(vma: &VmaNew) -> Result {
    let state = Arc::new(Mapping, GFP_KERNEL)?;
    vma.set_io();
    vma.set_dontexpand();
    fill_with_zeroed_pages(vma)?;
    MAPPINGS.install(vma, state);
    Ok(())
}
