// SPDX-License-Identifier: GPL-2.0

//! A job that is done in the background, again and again, and not after its owner is gone.
//!
//! The kernel crate's delayed work lives as long as somebody has queued it, and cannot be waited
//! for; a module that may be unloaded needs both.
//!
//! C header: `include/linux/workqueue.h`.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*,
    types::Opaque, //
};

/// What is to be done in the background.
pub trait Job: Send + Sync {
    /// Does some of it, and tells after how many milliseconds to go on. [`None`]: not before the
    /// next kick.
    ///
    /// Calls are one at a time. May sleep. While the system is suspended there are none, so a call
    /// should not take long.
    fn run(&self) -> Option<c_uint>;
}

/// Does a [`Job`], in a thread of its own.
///
/// # Invariants
///
/// `queue` is a valid queue of this worker's own. `work` is initialised.
#[pin_data(PinnedDrop)]
pub struct Worker<J: Job> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    queue: NonNull<bindings::workqueue_struct>,
    job: J,
}

// SAFETY: The kernel's functions on work may be called from anywhere; the job is `Send`.
unsafe impl<J: Job> Send for Worker<J> {}
// SAFETY: As above; the job is `Sync`.
unsafe impl<J: Job> Sync for Worker<J> {}

impl<J: Job> Worker<J> {
    /// A worker that does nothing before it is kicked.
    pub fn new(name: &'static CStr, job: J) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            // SAFETY: The name is valid during the call, and copied.
            let queue = unsafe { bindings::xen_rust_alloc_freezable_queue(name.as_char_ptr()) };
            let queue = NonNull::new(queue).ok_or(ENOMEM)?;
            // INVARIANT: The queue is new, and the work is initialised.
            Ok(try_pin_init!(Self {
                queue,
                job,
                work <- Opaque::ffi_init(|slot: *mut bindings::delayed_work| {
                    // SAFETY: The slot is valid for writes, and pinned.
                    unsafe { bindings::xen_rust_init_delayed_work(slot, Some(Self::run)) };
                }),
            }? Error))
        })
    }

    /// The job.
    #[inline]
    pub fn job(&self) -> &J {
        &self.job
    }

    /// Has the job run now, or again where it is running. Works in any context.
    pub fn kick(&self) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::mod_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                self.queue.as_ptr(),
                self.work.get(),
                0,
            )
        };
    }

    /// Waits for the job to end its current call, and lets it make no further ones before the
    /// next kick.
    pub fn stop(&self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }

    /// # Safety
    ///
    /// `work` is that of a live `Worker<J>`.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        let work: *mut bindings::delayed_work =
            kernel::container_of!(work, bindings::delayed_work, work);
        // SAFETY: By the function's contract.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(work), Self, work) };
        if let Some(milliseconds) = this.job.run() {
            // SAFETY: Can be called for any number.
            let delay = unsafe { bindings::__msecs_to_jiffies(milliseconds) };
            // Where the job has been kicked meanwhile, it is in the queue already, and stays where
            // it is.
            //
            // SAFETY: By the type invariant.
            unsafe {
                bindings::queue_delayed_work_on(
                    bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                    this.queue.as_ptr(),
                    this.work.get(),
                    delay as c_ulong,
                )
            };
        }
    }
}

#[pinned_drop]
impl<J: Job> PinnedDrop for Worker<J> {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
        // SAFETY: By the type invariant; nothing is in the queue any more.
        unsafe { bindings::destroy_workqueue(self.queue.as_ptr()) };
    }
}
