// SPDX-License-Identifier: GPL-2.0

//! A spinlock that interrupt handlers take too.
//!
//! The kernel crate's spinlock leaves interrupts alone in the older of the kernels that this is for.
//!
//! C header: `include/linux/spinlock.h`.

use crate::bindings;
use core::cell::UnsafeCell;
use kernel::{
    prelude::*,
    sync::LockClassKey,
    types::Opaque, //
};

/// Data under a spinlock that is held with interrupts disabled.
#[pin_data]
pub struct IrqLock<T> {
    #[pin]
    lock: Opaque<bindings::spinlock_t>,
    data: UnsafeCell<T>,
}

// SAFETY: The data goes with the lock.
unsafe impl<T: Send> Send for IrqLock<T> {}
// SAFETY: Only who holds the lock gets at the data.
unsafe impl<T: Send> Sync for IrqLock<T> {}

impl<T> IrqLock<T> {
    /// Data under a new lock. `name` and `class` are for lockdep.
    pub fn new(
        data: T,
        name: &'static CStr,
        class: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            lock <- Opaque::ffi_init(move |slot| {
                // SAFETY: The slot is valid and stays where it is; name and class are static.
                unsafe {
                    bindings::__spin_lock_init(slot, name.as_char_ptr(), class.as_ptr())
                }
            }),
            data: UnsafeCell::new(data),
        })
    }

    /// Runs `f` on the data, with the lock held and interrupts disabled: it must not sleep, and
    /// must not take the lock again.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: The lock is initialised.
        let flags = unsafe { bindings::xen_rust_spin_lock_irqsave(self.lock.get()) };
        // SAFETY: The lock is held, so nobody else has a reference.
        let result = f(unsafe { &mut *self.data.get() });
        // SAFETY: The lock is held, with these flags.
        unsafe { bindings::xen_rust_spin_unlock_irqrestore(self.lock.get(), flags) };
        result
    }
}
