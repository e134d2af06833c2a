// SPDX-License-Identifier: GPL-2.0

//! Taking foreign frames out of page tables in batches (paravirtual kernels).
//!
//! When a mapping goes the kernel clears its page table entries one by one, and each write traps:
//! Xen has to look at what is taken away. A notifier is told before that, and has Xen clear the
//! entries with one hypercall for many. What it leaves the kernel clears as ever, so that nothing
//! here has to succeed.
//!
//! C header: `include/linux/mmu_notifier.h`.

use crate::{
    bindings,
    ext::mm_lock::LockedVma,
    range::PAGE_SIZE, //
};
use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use kernel::{
    container_of,
    error::to_result,
    ffi::c_ulong,
    prelude::*,
    types::Opaque, //
};

/// Fewer pages than that are not worth it.
pub(super) const WORTHWHILE: usize = 8;

/// Clears the first pages of a mapping when it goes.
///
/// It has to be dropped together with the mapping: what comes to its place is not to be cleared.
///
/// # Invariants
///
/// `inner` is inserted, for the mapping at `start`.
#[pin_data(PinnedDrop)]
pub(super) struct Teardown {
    #[pin]
    inner: Opaque<bindings::mmu_interval_notifier>,
    start: usize,
    /// How many pages there are page tables for.
    pages: AtomicUsize,
}

// SAFETY: The notifier is not tied to a thread.
unsafe impl Send for Teardown {}
// SAFETY: The number of pages is atomic; nothing else changes.
unsafe impl Sync for Teardown {}

impl Teardown {
    const OPERATIONS: &'static bindings::mmu_interval_notifier_ops =
        &bindings::mmu_interval_notifier_ops {
            invalidate: Some(Self::invalidate),
            ..pin_init::zeroed()
        };

    /// For the mapping `vma`, none of whose pages has a page table yet as far as this knows.
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(vma: &LockedVma<'_>) -> Result<Pin<KBox<Self>>> {
        let range = vma.start()..vma.end();
        let mm = vma.mm().as_raw();
        KBox::try_pin_init(
            try_pin_init!(Self {
                start: range.start,
                pages: AtomicUsize::new(0),
                // INVARIANT: The initialiser fails unless it is inserted.
                inner <- Opaque::try_ffi_init(
                    move |slot: *mut bindings::mmu_interval_notifier| {
                        // SAFETY: The slot is pinned, and `drop` removes it before it goes. The
                        // mmap lock is held for writing.
                        to_result(unsafe {
                            bindings::mmu_interval_notifier_insert_locked(
                                slot,
                                mm,
                                range.start,
                                range.end - range.start,
                                Self::OPERATIONS,
                            )
                        })
                    }
                ),
            }? Error),
            GFP_KERNEL,
        )
    }

    /// The pages from `first` to `end` have page tables now.
    ///
    /// Pages further on are left to the kernel as long as there may be some before them without.
    /// The caller serialises this.
    pub(super) fn reaches(&self, first: usize, end: usize) {
        if first <= self.pages.load(Ordering::Relaxed) {
            self.pages.fetch_max(end, Ordering::Relaxed);
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `invalidate`.
    unsafe extern "C" fn invalidate(
        notifier: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        seq: c_ulong,
    ) -> bool {
        // SAFETY: The field is the callback's to set.
        unsafe { (&raw mut (*notifier).invalidate_seq).write_volatile(seq) };
        // SAFETY: `new` inserted it as the field of this type, and it is inserted still.
        let this = unsafe { &*container_of!(Opaque::cast_from(notifier), Self, inner) };

        // SAFETY: The range is valid during the call.
        let (start, end, event) = unsafe { ((*range).start, (*range).end, (*range).event) };
        let pages = this.pages.load(Ordering::Relaxed);
        let bytes = pages.saturating_mul(PAGE_SIZE);
        // Other events may concern the mapping, too, and leave it where it is. It is never split:
        // unless all of it goes, this is about something else.
        if event != bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP
            || start > this.start
            || end < this.start.saturating_add(bytes)
        {
            return true;
        }
        // SAFETY: The notifier is valid.
        let mm = unsafe { (*notifier).mm };
        // SAFETY: The mapping is being unmapped, so its address space and its page tables stay
        // during the call; these pages have page tables, and are shown by this mapping.
        unsafe { bindings::xen_rust_foreign_clear(mm, this.start, pages) };
        true
    }
}

#[pinned_drop]
impl PinnedDrop for Teardown {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is inserted; this is not called from its callback.
        unsafe { bindings::mmu_interval_notifier_remove(self.inner.get()) };
    }
}
