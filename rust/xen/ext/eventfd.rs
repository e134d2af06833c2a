// SPDX-License-Identifier: GPL-2.0

//! eventfds of user space: signalling them, and being called when they are.
//!
//! C headers: `include/linux/eventfd.h`, `include/linux/wait.h`, `include/linux/poll.h`.

use crate::bindings;
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    fs::file::{
        BadFdError,
        LocalFile, //
    },
    prelude::*,
    types::Opaque, //
};

/// An eventfd, whose count stays though all its files are closed.
///
/// # Invariants
///
/// Owns a reference.
pub struct EventFd(NonNull<bindings::eventfd_ctx>);

// SAFETY: The kernel guards the eventfd with a lock of its own.
unsafe impl Send for EventFd {}
// SAFETY: As above.
unsafe impl Sync for EventFd {}

impl EventFd {
    /// The eventfd that the current process knows as `fd`.
    ///
    /// # Errors
    ///
    /// `EBADF` when there is no such file, `EINVAL` when it is something else.
    pub fn from_fd(fd: u32) -> Result<Self> {
        let fd = c_int::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: Any number may be asked for.
        let context = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd) })?;
        // INVARIANT: The function returns a reference.
        NonNull::new(context).map(Self).ok_or(EINVAL)
    }

    /// Whether both are the same.
    #[inline]
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Adds one to its count, and wakes those who wait for it. Works in any context, but for that
    /// of a [`Signalled`] handler.
    #[inline]
    pub fn signal(&self) {
        // SAFETY: By the type invariant the eventfd is valid.
        unsafe { bindings::eventfd_signal_mask(self.0.as_ptr(), 0) };
    }
}

impl Drop for EventFd {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}

/// What is done when an eventfd is signalled.
pub trait Signalled: Send + Sync + 'static {
    /// The eventfd has been signalled; its count has been taken.
    ///
    /// Runs with the eventfd's lock held and interrupts disabled, in the context of whoever signals
    /// it. Must not sleep, and must not signal an eventfd.
    fn signalled(&self);
}

/// Has a handler called whenever an eventfd is signalled, until it is dropped.
///
/// When the last file of the eventfd is closed there is nobody left to signal it. The watch then
/// says so ([`EventFdWatch::is_hung_up`]), and is otherwise left alone: it holds the eventfd, and
/// with it the queue that it is in, so that nothing has to be taken down in a hurry. Taking it down
/// is for its owner alone.
///
/// # Invariants
///
/// `watch` is in the wait queue of `eventfd`.
#[pin_data(PinnedDrop)]
pub struct EventFdWatch<H: Signalled> {
    #[pin]
    watch: Opaque<bindings::xen_rust_eventfd_watch>,
    eventfd: EventFd,
    hung_up: AtomicBool,
    handler: H,
}

// SAFETY: The wait queue guards the entry; the handler is `Send`.
unsafe impl<H: Signalled> Send for EventFdWatch<H> {}
// SAFETY: As above; the handler is `Sync`.
unsafe impl<H: Signalled> Sync for EventFdWatch<H> {}

impl<H: Signalled> EventFdWatch<H> {
    /// Watches the eventfd that the current process knows as `fd`. If it has been signalled before
    /// the handler is called at once.
    ///
    /// # Errors
    ///
    /// `EBADF` when there is no such file, `EINVAL` when it is no eventfd, `EBUSY` when somebody
    /// else takes its counts.
    pub fn register(fd: u32, handler: H) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            hung_up: AtomicBool::new(false),
            handler,
            eventfd: EventFd::from_fd(fd)?,
            watch: Opaque::zeroed(),
            _: {
                let file = LocalFile::fget(fd).map_err(|BadFdError| EBADF)?;
                // The number may have become another file's meanwhile.
                //
                // SAFETY: The file is valid.
                let same = from_err_ptr(unsafe {
                    bindings::eventfd_ctx_fileget(file.as_ptr())
                })?;
                // INVARIANT: The function returns a reference.
                let same = NonNull::new(same).map(EventFd).ok_or(EINVAL)?;
                // SAFETY: The field is initialised.
                if !same.is(unsafe { &(*this.as_ptr()).eventfd }) {
                    return Err(EBADF);
                }
                // SAFETY: The watch is pinned, and `drop` takes it out of the queue; whatever the
                // callback uses is initialised. On failure it is not in the queue.
                //
                // INVARIANT: The file is the eventfd's, so it is that queue.
                to_result(unsafe {
                    bindings::xen_rust_eventfd_watch(
                        Opaque::cast_into(&raw const (*this.as_ptr()).watch),
                        file.as_ptr(),
                        Some(Self::woken),
                    )
                })?;
            },
        }? Error)
    }

    /// The eventfd.
    pub fn eventfd(&self) -> &EventFd {
        &self.eventfd
    }

    /// What is called.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// Whether the last file of the eventfd has been closed.
    pub fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Relaxed)
    }

    /// # Safety
    ///
    /// `entry` is that of a live `EventFdWatch<H>`, whose queue is locked.
    unsafe extern "C" fn woken(
        entry: *mut bindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        let watch = kernel::container_of!(entry, bindings::xen_rust_eventfd_watch, wait);
        // SAFETY: By the function's contract.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(watch), Self, watch) };
        let events = key as usize as u32;
        if events & bindings::POLLIN != 0 {
            let mut count = 0;
            // SAFETY: The eventfd is valid, and its queue's lock, which guards its count, is held.
            unsafe { bindings::eventfd_ctx_do_read(this.eventfd.0.as_ptr(), &mut count) };
            this.handler.signalled();
        }
        if events & bindings::POLLHUP != 0 {
            this.hung_up.store(true, Ordering::Relaxed);
        }
        // Others in the queue are woken too.
        0
    }
}

#[pinned_drop]
impl<H: Signalled> PinnedDrop for EventFdWatch<H> {
    fn drop(self: Pin<&mut Self>) {
        let watch = self.watch.get();
        // SAFETY: The watch is valid; the field does not change once it is registered.
        let head = unsafe { (*watch).head };
        // SAFETY: By the type invariant the entry is in this queue, which lives as long as the
        // eventfd, whose reference is dropped afterwards. Waits until the callback has returned.
        unsafe { bindings::remove_wait_queue(head, &raw mut (*watch).wait) };
    }
}
