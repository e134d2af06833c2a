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

/// How many entries it has.
const ENTRIES: usize = TABLE_SIZE / PAGE_SIZE;

/// The bytes of an entry.
const ENTRY_SIZE: usize = size_of::<bindings::pte_t>();

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

    /// Where the entries for the pages of the mapping are, from page `first` on.
    #[inline]
    pub(super) fn addresses(&self, first: usize) -> Addresses<'_> {
        let in_first = (self.start % TABLE_SIZE) >> PAGE_SHIFT;
        let at = in_first.saturating_add(first);
        let (table, entry) = (at / ENTRIES, at % ENTRIES);
        let mut others = self.others.iter();
        let table = match table {
            0 => Some(&self.first),
            number => others.nth(number - 1),
        };
        match table {
            Some(table) => Addresses {
                next: table.wrapping_add((entry * ENTRY_SIZE) as u64),
                left: ENTRIES - entry,
                others,
            },
            None => Addresses {
                next: 0,
                left: 0,
                others,
            },
        }
    }
}

/// Where page table entries are, one after the other.
pub(super) struct Addresses<'a> {
    next: u64,
    /// How many of this page table are left.
    left: usize,
    /// The page tables after it.
    others: core::slice::Iter<'a, u64>,
}

impl Iterator for Addresses<'_> {
    type Item = PteAddress;

    #[inline]
    fn next(&mut self) -> Option<PteAddress> {
        if self.left == 0 {
            self.next = *self.others.next()?;
            self.left = ENTRIES;
        }
        self.left -= 1;
        let address = self.next;
        self.next = address.wrapping_add(ENTRY_SIZE as u64);
        Some(PteAddress(address))
    }
}
