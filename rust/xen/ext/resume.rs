// SPDX-License-Identifier: GPL-2.0

//! How often the system was suspended and went on.
//!
//! C header: `include/linux/syscore_ops.h`.

use crate::bindings;
use core::{
    pin::Pin,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    types::Opaque, //
};

/// Counts resumes, from before anything but the core of the system runs again.
///
/// # Invariants
///
/// `core` is registered, with `count` as its data.
#[pin_data(PinnedDrop)]
pub struct Resumes {
    count: AtomicU32,
    #[pin]
    core: Opaque<bindings::syscore>,
}

// SAFETY: Only registration and removal touch the registration, and the count is atomic.
unsafe impl Send for Resumes {}
// SAFETY: As above.
unsafe impl Sync for Resumes {}

/// The operations, which the kernel only reads.
struct Operations(bindings::syscore_ops);

// SAFETY: Nobody writes it.
unsafe impl Sync for Operations {}

static OPERATIONS: Operations = Operations(bindings::syscore_ops {
    suspend: Some(suspend),
    resume: Some(resume),
    shutdown: None,
});

/// # Safety
///
/// May always be called.
unsafe extern "C" fn suspend(_data: *mut c_void) -> c_int {
    0
}

/// # Safety
///
/// `data` must be the count.
unsafe extern "C" fn resume(data: *mut c_void) {
    // SAFETY: By the function's contract; the count lives until the operations are removed.
    let count = unsafe { &*data.cast::<AtomicU32>() };
    count.fetch_add(1, Ordering::Release);
}

impl Resumes {
    /// Begins to count.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(&this in Self {
            count: AtomicU32::new(0),
            // INVARIANT: Registered with the count beside it.
            core <- Opaque::ffi_init(move |slot: *mut bindings::syscore| {
                let core = bindings::syscore {
                    ops: &raw const OPERATIONS.0,
                    // SAFETY: The field is within the structure that is being initialised.
                    data: unsafe { &raw mut (*this.as_ptr()).count }.cast::<c_void>(),
                    ..Default::default()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(core) };
                // SAFETY: The structure is pinned, and removed before it goes.
                unsafe { bindings::register_syscore(slot) };
            }),
        })
    }

    /// How often, modulo 2^32.
    #[inline]
    pub fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }
}

#[pinned_drop]
impl PinnedDrop for Resumes {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant it is registered.
        unsafe { bindings::unregister_syscore(self.core.get()) };
    }
}
