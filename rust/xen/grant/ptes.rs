// SPDX-License-Identifier: GPL-2.0

//! Page table entries of user space, as Xen is told of them (PV).

use super::PteAddress;
use crate::bindings;
use core::mem::size_of;
use kernel::{
    alloc::flags::__GFP_NOWARN,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    mm::virt::VmaNew,
    page::{
        PAGE_MASK,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// The bytes that one page of page table entries maps.
const TABLE_SIZE: usize = 1 << bindings::PMD_SHIFT;

/// Where the page table entries of a mapping are.
///
/// The entries of one page table lie one after the other, hence one number for each page table is
/// enough: eight bytes for 512 pages.
pub struct UserPtes {
    start: usize,
    /// The first, as most mappings have no other.
    first: u64,
    others: KVVec<u64>,
}

impl UserPtes {
    /// Makes the page tables for a new mapping, and finds out where they are.
    ///
    /// They stay there until the mapping is gone or moved, of which an MMU notifier tells before.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn prepare(vma: &VmaNew) -> Result<Self> {
        let (start, end) = (vma.start(), vma.end());
        let mm = vma.mm().as_raw();
        let table_of = |address| -> Result<u64> {
            let mut table = 0u64;
            // SAFETY: The address space is the current process's, whose mmap lock is held for
            // writing. The function is called for one entry, with a pointer to `table`.
            to_result(unsafe {
                bindings::apply_to_page_range(
                    mm,
                    address,
                    PAGE_SIZE,
                    Some(Self::note),
                    (&raw mut table).cast(),
                )
            })?;
            Ok(table)
        };

        let first = table_of(start)?;
        let count = (end - 1) / TABLE_SIZE - start / TABLE_SIZE;
        let mut others = KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?;
        let mut at = start;
        for _ in 0..count {
            at = (at & !(TABLE_SIZE - 1)).saturating_add(TABLE_SIZE);
            others.push(table_of(at)?, GFP_KERNEL)?;
        }
        Ok(Self {
            start,
            first,
            others,
        })
    }

    /// # Safety
    ///
    /// `pte` points to a page table entry, `data` to a `u64`.
    unsafe extern "C" fn note(
        pte: *mut bindings::pte_t,
        _address: c_ulong,
        data: *mut c_void,
    ) -> c_int {
        // SAFETY: Page tables are in memory that the kernel has mapped.
        let address = unsafe { bindings::arbitrary_virt_to_machine(pte.cast()) };
        // SAFETY: By the function's contract.
        unsafe { *data.cast::<u64>() = address.maddr & PAGE_MASK as u64 };
        0
    }

    /// Where the entry for page `index` of the mapping is.
    #[inline]
    pub(super) fn address(&self, index: usize) -> Option<PteAddress> {
        let at = index
            .checked_mul(PAGE_SIZE)
            .and_then(|bytes| self.start.checked_add(bytes))?;
        let table = match (at / TABLE_SIZE).checked_sub(self.start / TABLE_SIZE)? {
            0 => self.first,
            number => *self.others.get(number - 1)?,
        };
        let entry = (at % TABLE_SIZE) >> PAGE_SHIFT;
        Some(PteAddress(
            table + (entry * size_of::<bindings::pte_t>()) as u64,
        ))
    }
}
