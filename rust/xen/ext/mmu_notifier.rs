// SPDX-License-Identifier: GPL-2.0

//! To be told before page tables of user space change.
//!
//! C header: `include/linux/mmu_notifier.h`; `Documentation/mm/mmu_notifier.rst`.

use crate::bindings;
use core::ops::Range;
use kernel::{
    container_of,
    error::to_result,
    ffi::c_ulong,
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

/// What becomes of a mapping whose page table entries change.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It goes, and will be closed: nobody can look it up any more who does not already hold the
    /// mmap lock.
    Unmapped,
    /// It stays, as after `madvise(MADV_DONTNEED)`.
    Discarded,
}

/// What wants to be told.
pub trait Invalidate: Send + Sync + 'static {
    /// Page table entries of some of the `addresses` are about to be changed or removed.
    ///
    /// Whatever uses them must have stopped doing so when this returns. The addresses are those of
    /// the notifier that changes concern, in bytes.
    ///
    /// May sleep, but may be called on behalf of somebody who wants to free memory: must not
    /// allocate, nor take a lock under which somebody allocates.
    fn invalidate(self: ArcBorrow<'_, Self>, addresses: Range<usize>, change: Change);
}

/// A subscription to changes of one range of addresses of one process.
///
/// Ends with the value, which must not be dropped by [`Invalidate::invalidate`]. Dropping it waits
/// for invalidations that are under way.
///
/// # Invariants
///
/// `inner` is inserted.
#[pin_data(PinnedDrop)]
pub struct IntervalNotifier<T: Invalidate> {
    #[pin]
    inner: Opaque<bindings::mmu_interval_notifier>,
    range: Range<usize>,
    target: Arc<T>,
}

// SAFETY: The subscription is not tied to a thread, and the target may be sent.
unsafe impl<T: Invalidate> Send for IntervalNotifier<T> {}
// SAFETY: There is nothing to call through a shared reference.
unsafe impl<T: Invalidate> Sync for IntervalNotifier<T> {}

impl<T: Invalidate> IntervalNotifier<T> {
    const OPERATIONS: &'static bindings::mmu_interval_notifier_ops =
        &bindings::mmu_interval_notifier_ops {
            invalidate: Some(Self::invalidate),
            ..pin_init::zeroed()
        };

    /// Subscribes `target` to the addresses of a new mapping.
    ///
    /// As the mmap lock is held for writing during mmap, no change of them is under way. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn subscribe(vma: &VmaNew, target: Arc<T>) -> Result<Pin<KBox<Self>>> {
        let range = vma.start()..vma.end();
        let mm = vma.mm().as_raw();
        KBox::try_pin_init(
            try_pin_init!(Self {
                range: range.clone(),
                target,
                // INVARIANT: The initialiser fails unless it is inserted.
                inner <- Opaque::try_ffi_init(
                    move |slot: *mut bindings::mmu_interval_notifier| {
                        // SAFETY: The slot is pinned, and `drop` removes it before it goes. The
                        // mmap lock is held for writing, as the mapping is being set up.
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

    /// # Safety
    ///
    /// The kernel's contract for `invalidate`.
    unsafe extern "C" fn invalidate(
        notifier: *mut bindings::mmu_interval_notifier,
        range: *const bindings::mmu_notifier_range,
        seq: c_ulong,
    ) -> bool {
        // SAFETY: The range is valid during the call.
        let (start, end, flags) = unsafe { ((*range).start, (*range).end, (*range).flags) };
        // SAFETY: As above.
        let change = match unsafe { (*range).event } {
            bindings::mmu_notifier_event_MMU_NOTIFY_UNMAP
            | bindings::mmu_notifier_event_MMU_NOTIFY_RELEASE => Change::Unmapped,
            _ => Change::Discarded,
        };
        if flags & bindings::MMU_NOTIFIER_RANGE_BLOCKABLE == 0 {
            return false;
        }
        // SAFETY: `subscribe` inserted it as the field of this type, and it is inserted still.
        let this = unsafe { &*container_of!(Opaque::cast_from(notifier), Self, inner) };
        // SAFETY: The field is the callback's to set.
        unsafe { (&raw mut (*notifier).invalidate_seq).write_volatile(seq) };

        let addresses = start.max(this.range.start)..end.min(this.range.end);
        if !addresses.is_empty() {
            this.target.as_arc_borrow().invalidate(addresses, change);
        }
        true
    }
}

#[pinned_drop]
impl<T: Invalidate> PinnedDrop for IntervalNotifier<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is inserted; this is not called from its callback.
        unsafe { bindings::mmu_interval_notifier_remove(self.inner.get()) };
    }
}
