// SPDX-License-Identifier: GPL-2.0

//! Mappings that belong to a driver.
//!
//! A driver's mapping carries a reference-counted state of the driver's type. There is one way to
//! get at it, [`VmaTable::state`], and it looks whether the mapping is the driver's own before it
//! yields anything. Splitting, copying and closing a mapping count the references.
//!
//! C headers: `include/linux/mm.h`, `include/linux/mm_types.h`.

use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    ffi::{
        c_int,
        c_ulong, //
    },
    mm::virt::{
        VmaNew,
        VmaRef, //
    },
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// The state of a driver's mappings, and what it does as they change.
///
/// A page that is touched without having been mapped is `SIGBUS`: these mappings are filled by
/// the driver, never by a fault.
pub trait MappingState: Send + Sync + Sized + 'static {
    /// A mapping was copied: by fork, by a split, or by the first half of mremap.
    ///
    /// Runs with the mmap lock held for writing. Must not fail, hence must not allocate.
    fn opened(self: ArcBorrow<'_, Self>, _vma: &VmaRef) {}

    /// A mapping goes. Its page table entries are gone already.
    ///
    /// Runs with the mmap lock held for writing; may sleep.
    fn closed(self: ArcBorrow<'_, Self>, _vma: &VmaRef) {}

    /// Whether the mapping may be split at `address`.
    fn may_split(self: ArcBorrow<'_, Self>, _vma: &VmaRef, _address: usize) -> Result {
        Ok(())
    }

    /// Whether the mapping's protection may be changed by mprotect, to another.
    fn may_protect(self: ArcBorrow<'_, Self>, _vma: &VmaRef) -> Result {
        Ok(())
    }

    /// Whether the mapping may be moved. `new` is where it is to be, not yet populated.
    fn may_move(self: ArcBorrow<'_, Self>, _new: &VmaRef) -> Result {
        Ok(())
    }

    /// Whether [`MappingState::normal_page`] is to be asked.
    const HAS_NORMAL_PAGES: bool = false;

    /// The page at `address` whose page table entry is special, so that get_user_pages can take
    /// it all the same. Null when there is none.
    ///
    /// Runs under the page table lock: must not sleep.
    fn normal_page(self: ArcBorrow<'_, Self>, _vma: &VmaRef, _address: usize) -> *mut PageStruct {
        core::ptr::null_mut()
    }
}

/// The kernel's `struct page`, named so that drivers need no binding for it.
pub type PageStruct = bindings::page;

/// A bit in the page offset of mappings that must stay where they are.
///
/// mremap takes the entries out of the page table, and only then asks the driver. Before that it
/// searches for free address space with the page offset of the mapping that it moves: this is what
/// such a mapping is known by. No offset that mmap can be called with reaches so far.
#[cfg(CONFIG_64BIT)]
const UNMOVABLE: usize = 1 << 52;
#[cfg(not(CONFIG_64BIT))]
const UNMOVABLE: usize = 0;

/// Where in its file a mapping begins, in pages. Moves with the beginning when a mapping is split.
#[inline]
pub fn page_offset(vma: &VmaRef) -> usize {
    // SAFETY: A `VmaRef` may be read, as the mmap lock or the VMA's own is held.
    unsafe { (*vma.as_ptr()).vm_pgoff & !UNMOVABLE }
}

/// Makes a new mapping one that must stay where it is: mremap is refused before it has touched
/// anything, by a driver whose [`FileOperations::may_place`] asks [`refuses_move`].
///
/// Does nothing on a 32-bit kernel.
///
/// [`FileOperations::may_place`]: super::file::FileOperations::may_place
pub fn set_unmovable(vma: &VmaNew) {
    // SAFETY: The mapping is being set up, so its page offset is the driver's to set.
    unsafe { (*vma.as_ptr()).vm_pgoff |= UNMOVABLE };
}

/// Whether a search for free address space with this page offset is on behalf of a mapping that is
/// to be moved, and must not be.
#[inline]
pub fn refuses_move(page_offset: usize) -> bool {
    page_offset & UNMOVABLE != 0
}

/// A `struct vm_operations_struct` for mappings with state `T`.
///
/// Belongs into a `static` of the driver: its address is what tells the driver's mappings from
/// all others.
#[repr(transparent)]
pub struct VmaTable<T: MappingState>(bindings::vm_operations_struct, PhantomData<T>);

// SAFETY: The kernel only reads it.
unsafe impl<T: MappingState> Sync for VmaTable<T> {}

impl<T: MappingState> VmaTable<T> {
    /// The table for `T`.
    pub const fn new() -> Self {
        Self(
            bindings::vm_operations_struct {
                open: Some(Self::open),
                close: Some(Self::close),
                may_split: Some(Self::may_split),
                mremap: Some(Self::mremap),
                mprotect: Some(Self::mprotect),
                fault: Some(Self::fault),
                #[cfg(CONFIG_FIND_NORMAL_PAGE)]
                find_normal_page: if T::HAS_NORMAL_PAGES {
                    Some(Self::find_normal_page)
                } else {
                    None
                },
                ..pin_init::zeroed()
            },
            PhantomData,
        )
    }

    /// Makes a new mapping the driver's own, with one reference to `state`.
    ///
    /// To be called last in mmap: where mmap fails, the kernel forgets the mapping without closing
    /// it, and the reference would stay.
    pub fn install(&'static self, vma: &VmaNew, state: Arc<T>) {
        let vma = vma.as_ptr();
        // SAFETY: The mapping is being set up, so its fields are the driver's to set.
        unsafe { (*vma).vm_private_data = state.into_foreign() };
        // SAFETY: As above. The table is static.
        unsafe { (*vma).vm_ops = &raw const self.0 };
    }

    /// The state of `vma`, if the mapping is one of the driver's.
    #[inline]
    pub fn state<'a>(&'static self, vma: &'a VmaRef) -> Option<ArcBorrow<'a, T>> {
        // SAFETY: A `VmaRef` may be read, as the mmap lock or the VMA's own is held.
        let ops = unsafe { (*vma.as_ptr()).vm_ops };
        if !core::ptr::eq(ops, &self.0) {
            return None;
        }
        // SAFETY: Only `install` sets this table, and it sets the private data before, to a
        // reference that `close` alone takes back, when the mapping is gone.
        Some(unsafe { Self::borrow(vma.as_ptr()) })
    }

    /// Whether `vma`, which has just been copied, is a part that is being split off: the pages in it
    /// are the other's no more, rather than of both.
    ///
    /// To be asked in [`MappingState::opened`], while the kernel has the old mapping in its place
    /// still.
    pub fn is_split_off(&'static self, vma: &VmaRef) -> bool {
        let vma = vma.as_ptr();
        // SAFETY: The mapping is valid.
        let mm = unsafe { (*vma).vm_mm };
        // SAFETY: A task's own `mm` is not changed behind its back.
        if mm != unsafe { (*kernel::task::Task::current_raw()).mm } {
            // By fork.
            return false;
        }
        // SAFETY: The mapping is valid.
        let start = unsafe { (*vma).__bindgen_anon_1.__bindgen_anon_1.vm_start };
        // SAFETY: While a mapping of the current process is copied its mmap lock is held.
        let old = unsafe { bindings::vma_lookup(mm, start) };
        if old.is_null() || old == vma {
            return false;
        }
        // SAFETY: The mapping is valid, as the lock is held.
        let ops = unsafe { (*old).vm_ops };
        // SAFETY: As above.
        let state = unsafe { (*old).vm_private_data };
        // SAFETY: The mapping is valid.
        core::ptr::eq(ops, &self.0) && state == unsafe { (*vma).vm_private_data }
    }

    /// # Safety
    ///
    /// `vma` has this table, and is not closed during `'a`.
    unsafe fn borrow<'a>(vma: *mut bindings::vm_area_struct) -> ArcBorrow<'a, T> {
        // SAFETY: The mapping is valid.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: `install` made it by `into_foreign`; `close` comes after `'a`.
        unsafe { <Arc<T> as ForeignOwnable>::borrow(private) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `open`.
    unsafe extern "C" fn open(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The mapping it was copied from has this table and holds a reference.
        let state = unsafe { Self::borrow(vma) };
        // The copy has the same pointer in its private data: this is the reference that it stands
        // for, which its own `close` takes back.
        core::mem::forget(Arc::from(state));
        // SAFETY: The mmap lock is held for writing.
        state.opened(unsafe { VmaRef::from_raw(vma) });
    }

    /// # Safety
    ///
    /// The kernel's contract for `close`.
    unsafe extern "C" fn close(vma: *mut bindings::vm_area_struct) {
        // SAFETY: The mapping is valid.
        let private = unsafe { (*vma).vm_private_data };
        // SAFETY: `install` or `open` counted this reference, and each mapping is closed once.
        let state = unsafe { <Arc<T> as ForeignOwnable>::from_foreign(private) };
        // SAFETY: The mmap lock is held for writing.
        let vma = unsafe { VmaRef::from_raw(vma) };
        state.as_arc_borrow().closed(vma);
    }

    /// # Safety
    ///
    /// The kernel's contract for `may_split`.
    unsafe extern "C" fn may_split(vma: *mut bindings::vm_area_struct, address: c_ulong) -> c_int {
        // SAFETY: The mapping has this table.
        let state = unsafe { Self::borrow(vma) };
        // SAFETY: The mmap lock is held for writing.
        match state.may_split(unsafe { VmaRef::from_raw(vma) }, address) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `mremap`.
    unsafe extern "C" fn mremap(vma: *mut bindings::vm_area_struct) -> c_int {
        // SAFETY: The mapping has this table.
        let state = unsafe { Self::borrow(vma) };
        // SAFETY: The mmap lock is held for writing.
        match state.may_move(unsafe { VmaRef::from_raw(vma) }) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `mprotect`.
    unsafe extern "C" fn mprotect(
        vma: *mut bindings::vm_area_struct,
        _start: c_ulong,
        _end: c_ulong,
        flags: c_ulong,
    ) -> c_int {
        // SAFETY: The mapping has this table.
        let state = unsafe { Self::borrow(vma) };
        // SAFETY: The mmap lock is held for writing.
        let vma = unsafe { VmaRef::from_raw(vma) };
        if vma.flags() == flags {
            // The kernel leaves it as it is.
            return 0;
        }
        match state.may_protect(vma) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `find_normal_page`.
    #[cfg(CONFIG_FIND_NORMAL_PAGE)]
    unsafe extern "C" fn find_normal_page(
        vma: *mut bindings::vm_area_struct,
        address: c_ulong,
    ) -> *mut bindings::page {
        // SAFETY: The mapping has this table.
        let state = unsafe { Self::borrow(vma) };
        // SAFETY: The mmap lock or the VMA's own is held.
        state.normal_page(unsafe { VmaRef::from_raw(vma) }, address)
    }

    /// # Safety
    ///
    /// The kernel's contract for `fault`.
    unsafe extern "C" fn fault(_fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        bindings::vm_fault_reason_VM_FAULT_SIGBUS
    }
}

impl<T: MappingState> Default for VmaTable<T> {
    fn default() -> Self {
        Self::new()
    }
}
