// SPDX-License-Identifier: GPL-2.0

//! Mappings of ordinary pages that nobody but the mappings keeps.
//!
//! C header: `include/linux/mm.h`.

use crate::bindings;
use core::ptr;
use kernel::{
    error::to_result,
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*, //
};

/// How many pages are inserted at a time.
const BATCH: usize = 32;

/// Fills a new mapping with zeroed pages of its own.
///
/// The mapping's page table entries hold the only references: each page is freed when the last
/// entry for it goes, however the mapping has been copied and split until then. The pages are not
/// moved and not swapped.
///
/// To be called from mmap. Sleeps. On failure the kernel takes the mapping down, and the pages that
/// were inserted go with it.
///
/// # Errors
///
/// `ENOMEM`, without a warning in the log; `EINTR` when a fatal signal is pending.
pub fn fill_with_zeroed_pages(vma: &VmaNew) -> Result {
    let mut address = vma.start();
    let end = vma.end();

    while address < end {
        super::task::checkpoint()?;

        let mut pages = [ptr::null_mut(); BATCH];
        let mut count = 0;
        for (slot, _) in pages.iter_mut().zip((address..end).step_by(PAGE_SIZE)) {
            // SAFETY: The function can be called wherever sleeping is allowed.
            let page = unsafe { bindings::xen_rust_alloc_zeroed_page() };
            if page.is_null() {
                break;
            }
            *slot = page;
            count += 1;
        }

        let mut left = count;
        let result = if count == 0 {
            Err(ENOMEM)
        } else {
            // SAFETY: The mapping is being set up, with the mmap lock held for writing; it covers
            // this many pages more.
            to_result(unsafe {
                bindings::vm_insert_pages(vma.as_ptr(), address, pages.as_mut_ptr(), &mut left)
            })
        };
        for page in pages.iter().take(count) {
            // SAFETY: The page has been allocated above. What was inserted has a reference in the
            // page table, what was not is freed.
            unsafe { bindings::xen_rust_put_page(*page) };
        }
        result?;
        address += count * PAGE_SIZE;
    }
    Ok(())
}
