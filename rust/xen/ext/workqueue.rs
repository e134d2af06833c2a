// SPDX-License-Identifier: GPL-2.0

//! A work queue of the module's own, whose items are done before the module is unloaded.
//!
//! C header: `include/linux/workqueue.h`.

use crate::bindings;
use core::{
    ptr::null_mut,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    container_of,
    ffi::c_int,
    prelude::*,
    time::Jiffies,
    workqueue::{
        Queue,
        RawDelayedWorkItem, //
    }, //
};

/// A work queue that exists while the module is loaded.
///
/// Belongs into a `static`.
pub struct ModuleQueue {
    inner: AtomicPtr<bindings::workqueue_struct>,
}

/// The existence of a [`ModuleQueue`]. Dropping it waits for the queue's items.
///
/// # Invariants
///
/// The queue's pointer is valid.
pub struct Running(&'static ModuleQueue);

impl ModuleQueue {
    /// A queue that does not exist yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            inner: AtomicPtr::new(null_mut()),
        }
    }

    /// Makes the queue, for work that may run on any CPU and may sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn start(&'static self, name: &'static CStr) -> Result<Running> {
        // SAFETY: The format takes one string.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(
                c"%s".as_char_ptr(),
                bindings::wq_flags_WQ_UNBOUND,
                0 as c_int,
                name.as_char_ptr(),
            )
        };
        if queue.is_null() {
            return Err(ENOMEM);
        }
        self.inner.store(queue, Ordering::Release);
        // INVARIANT: It has just been set.
        Ok(Running(self))
    }

    /// Has an item run after `delay` jiffies. If it waits for that already, nothing changes.
    ///
    /// The item must keep the module loaded, by a [`ModuleRef`](super::module::ModuleRef) or
    /// otherwise. Without the queue, nothing happens.
    pub fn enqueue_delayed<W, const ID: u64>(&self, item: W, delay: Jiffies)
    where
        W: RawDelayedWorkItem<ID> + Send + 'static,
    {
        let queue = self.inner.load(Ordering::Acquire);
        if queue.is_null() {
            return;
        }
        // SAFETY: The queue is valid as long as the module is loaded, of which the caller makes
        // sure.
        let queue = unsafe { Queue::from_raw(queue) };
        let _ = queue.enqueue_delayed(item, delay);
    }

    /// Has an item run after `delay` jiffies from now, also if it waits for another time already.
    /// Returns whether it did not wait.
    ///
    /// As [`ModuleQueue::enqueue_delayed`] otherwise.
    pub fn enqueue_anew<W, const ID: u64>(&self, item: W, delay: Jiffies) -> bool
    where
        W: RawDelayedWorkItem<ID> + Send + 'static,
    {
        let queue = self.inner.load(Ordering::Acquire);
        if queue.is_null() {
            return false;
        }
        let mut fresh = false;
        let enqueue = |work: *mut bindings::work_struct| {
            // SAFETY: The item's contract is that the work is the field of a delayed one.
            let work = unsafe { container_of!(work, bindings::delayed_work, work) };
            // SAFETY: The work is valid, and so is the queue as long as the module is loaded, of
            // which the caller makes sure.
            fresh = !unsafe {
                bindings::mod_delayed_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                    queue,
                    work,
                    delay,
                )
            };
            fresh
        };
        // SAFETY: The item may be sent and is static, hence may run whenever and wherever. The
        // closure says that the work was enqueued just when it was, and not before.
        let _ = unsafe { item.__enqueue(enqueue) };
        fresh
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let queue = self.0.inner.swap(null_mut(), Ordering::AcqRel);
        // SAFETY: By the type invariant the queue is valid, and it is taken away once. As nothing
        // keeps the module loaded any more, nothing is enqueued any more.
        unsafe { bindings::destroy_workqueue(queue) };
    }
}
