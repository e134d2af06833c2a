// SPDX-License-Identifier: GPL-2.0

//! Waiting for what an interrupt brings.
//!
//! The kernel crate's condition variables go with a lock, which interrupts then had to take. Here
//! the condition is the caller's, as in C's `wait_event()`. Poll waits at the same queue.
//!
//! C headers: `include/linux/wait.h`, `include/linux/poll.h`.

use super::file::PollEvents;
use crate::bindings;
use core::mem;
use kernel::{
    fs::File,
    prelude::*,
    sync::poll::PollTable,
    types::Opaque, //
};

/// Those who wait: readers that block, and pollers.
#[pin_data(PinnedDrop)]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: The queue has a lock of its own.
unsafe impl Send for WaitQueue {}
// SAFETY: As above.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// An empty queue. `name` and `class` are for lockdep.
    pub fn new(
        name: &'static CStr,
        class: Pin<&'static kernel::sync::LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: The slot is valid, and name and class live forever.
                unsafe {
                    bindings::__init_waitqueue_head(slot, name.as_char_ptr(), class.as_ptr())
                }
            }),
        })
    }

    /// Wakes one that waits with [`WaitQueue::wait`], and all pollers that want any of `events`.
    ///
    /// What made the condition true must come before. Works in any context; costs a fence and a
    /// load when nobody waits.
    #[inline]
    pub fn wake(&self, events: PollEvents) {
        // SAFETY: The queue is initialised.
        if unsafe { bindings::xen_rust_wq_has_sleeper(self.head.get()) } {
            // SAFETY: The queue is initialised.
            unsafe { bindings::xen_rust_wake_up_poll(self.head.get(), events.raw()) };
        }
    }

    /// Waits until `condition` is true.
    ///
    /// Each [`WaitQueue::wake`] wakes one of those who wait here, who must therefore wake the next
    /// if there is something left for it. `condition` is called with the task about to sleep, and
    /// must not sleep itself.
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` when a signal is pending.
    pub fn wait(&self, mut condition: impl FnMut() -> bool) -> Result {
        if condition() {
            return Ok(());
        }
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: The entry is ours, and stays where it is until it is out of the queue.
        unsafe {
            bindings::init_wait_entry(
                entry.get(),
                bindings::WQ_FLAG_EXCLUSIVE as kernel::ffi::c_int,
            )
        };
        loop {
            // SAFETY: Queue and entry are initialised. The entry is taken out below, or by this
            // function itself where it tells of a signal.
            let interrupted = unsafe {
                bindings::prepare_to_wait_event(
                    self.head.get(),
                    entry.get(),
                    bindings::TASK_INTERRUPTIBLE as kernel::ffi::c_int,
                )
            } != 0;
            // A wake-up that chose this entry before it was taken out must not be lost: hence the
            // condition comes before the signal.
            if condition() {
                // SAFETY: Queue and entry are initialised; sets the task running again.
                unsafe { bindings::finish_wait(self.head.get(), entry.get()) };
                return Ok(());
            }
            if interrupted {
                return Err(ERESTARTSYS);
            }
            // SAFETY: The task holds no lock that forbids to sleep, as its caller promised.
            unsafe { bindings::schedule() };
        }
    }

    /// Registers the queue with `table`, so that [`WaitQueue::wake`] wakes who polls `file`.
    ///
    /// The queue must be part of what belongs to `file`, as it is asked for until the file goes.
    #[inline]
    pub fn register(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: `PollTable` is a transparent wrapper of this pointer.
        let table: *mut bindings::poll_table_struct = unsafe { mem::transmute_copy(table) };
        // SAFETY: File and table are valid during the call. The queue stays valid until it is
        // dropped, which takes out whoever is still in it, and waits for those that are just
        // leaving.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table) };
    }
}

#[pinned_drop]
impl PinnedDrop for WaitQueue {
    fn drop(self: Pin<&mut Self>) {
        // A queue that goes with its file has nobody in it: they hold the file.
        //
        // SAFETY: The queue is initialised.
        if !unsafe { bindings::xen_rust_wq_unused(self.head.get()) } {
            // SAFETY: The queue is initialised.
            unsafe { bindings::__wake_up_pollfree(self.head.get()) };
            // SAFETY: The caller of drop may sleep: it frees what pollers know.
            unsafe { bindings::synchronize_rcu() };
        }
    }
}

/// Creates a [`WaitQueue`] with a lock class of its own.
#[macro_export]
macro_rules! new_wait_queue {
    ($name:literal) => {
        $crate::ext::wait::WaitQueue::new($name, kernel::static_lock_class!())
    };
}
