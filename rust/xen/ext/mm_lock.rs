// SPDX-License-Identifier: GPL-2.0

//! The mmap lock of the current process, held for writing.
//!
//! The kernel crate has it for reading only. Nothing may touch user space while it is held: a fault
//! takes the same lock.
//!
//! C headers: `include/linux/mmap_lock.h`, `include/linux/mm.h`.

use crate::bindings;
use core::{
    marker::PhantomData,
    ops::Deref, //
};
use kernel::{
    error::to_result,
    mm::virt::VmaRef,
    page::PAGE_SIZE,
    prelude::*,
    task::Task,
    types::NotThreadSafe, //
};

/// The mmap lock of the current process, held for writing until this is dropped.
///
/// # Invariants
///
/// `mm` is the address space of the current task, whose mmap lock this holds for writing.
pub struct MmapWriteGuard {
    mm: *mut bindings::mm_struct,
    _here: NotThreadSafe,
}

impl MmapWriteGuard {
    fn current_mm() -> Result<*mut bindings::mm_struct> {
        // SAFETY: A task's own `mm` is not changed behind its back.
        let mm = unsafe { (*Task::current_raw()).mm };
        if mm.is_null() {
            return Err(EFAULT);
        }
        Ok(mm)
    }

    /// Takes the lock, unless the task is killed first. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINTR` when a fatal signal is pending, `EFAULT` in a task without an address space.
    pub fn lock() -> Result<Self> {
        let mm = Self::current_mm()?;
        // SAFETY: The task's own address space stays while the task is in the kernel.
        to_result(unsafe { bindings::xen_rust_mmap_write_lock_killable(mm) })?;
        // INVARIANT: The lock has been taken.
        Ok(Self {
            mm,
            _here: NotThreadSafe,
        })
    }

    /// Takes the lock even in a task that is being killed: for what has to be undone. Sleeps.
    ///
    /// # Errors
    ///
    /// `EFAULT` in a task without an address space.
    pub fn lock_unkillable() -> Result<Self> {
        let mm = Self::current_mm()?;
        // SAFETY: The task's own address space stays while the task is in the kernel.
        unsafe { bindings::xen_rust_mmap_write_lock(mm) };
        // INVARIANT: The lock has been taken.
        Ok(Self {
            mm,
            _here: NotThreadSafe,
        })
    }

    /// The mapping that `address` lies in.
    pub fn lookup(&self, address: usize) -> Option<LockedVma<'_>> {
        // SAFETY: By the type invariant the lock is held.
        let vma = unsafe { bindings::vma_lookup(self.mm, address) };
        if vma.is_null() {
            return None;
        }
        Some(LockedVma {
            // SAFETY: The mapping is valid, and stays as long as the lock is held.
            vma: unsafe { VmaRef::from_raw(vma) },
            _lock: PhantomData,
        })
    }
}

impl Drop for MmapWriteGuard {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the lock is held, by this task.
        unsafe { bindings::xen_rust_mmap_write_unlock(self.mm) };
    }
}

/// A mapping of the current process, whose mmap lock is held for writing.
#[derive(Copy, Clone)]
pub struct LockedVma<'a> {
    vma: &'a VmaRef,
    _lock: PhantomData<&'a MmapWriteGuard>,
}

impl Deref for LockedVma<'_> {
    type Target = VmaRef;

    fn deref(&self) -> &VmaRef {
        self.vma
    }
}

impl LockedVma<'_> {
    /// Whether `pages` pages from `address` on lie within the mapping.
    pub fn covers(&self, address: usize, pages: usize) -> bool {
        let end = pages
            .checked_mul(PAGE_SIZE)
            .and_then(|bytes| address.checked_add(bytes));
        address % PAGE_SIZE == 0
            && address >= self.start()
            && end.is_some_and(|end| end <= self.end())
    }

    /// Takes whatever `pages` pages from `address` on show out of the page tables.
    ///
    /// Does nothing unless the mapping is of raw frames (`VM_PFNMAP`) and covers all of them. May
    /// sleep.
    pub fn zap(&self, address: usize, pages: usize) {
        if !self.covers(address, pages) {
            return;
        }
        // SAFETY: The mapping is valid, its lock is held, and the length has been checked.
        unsafe {
            bindings::zap_special_vma_range(self.vma.as_ptr(), address, pages * PAGE_SIZE);
        }
    }

    /// Asks that none of `pages` pages from `address` on has anything in the page tables.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` when one has, `EINVAL` when they are not within the mapping, `ENOMEM`.
    pub fn expect_empty(&self, address: usize, pages: usize) -> Result {
        if !self.covers(address, pages) {
            return Err(EINVAL);
        }
        if pages == 0 {
            return Ok(());
        }
        // SAFETY: The mapping is valid, its lock is held, and the range, which is not empty, is
        // within it.
        to_result(unsafe {
            bindings::xen_rust_vma_range_is_none(self.vma.as_ptr(), address, pages * PAGE_SIZE)
        })
    }
}
