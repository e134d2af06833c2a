// SPDX-License-Identifier: GPL-2.0

//! A value that is made when it is first asked for, and takes no more than a pointer until then.

use core::{
    marker::PhantomData,
    pin::Pin,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};
use kernel::prelude::*;

/// Holds a `T` once somebody has asked for it.
///
/// # Invariants
///
/// `value` is null, or what [`KBox::into_raw`] has given of a pinned box that this value owns. It
/// changes once at most, from the first to the second.
pub struct Lazy<T> {
    value: AtomicPtr<T>,
    owned: PhantomData<T>,
}

impl<T: Send> Lazy<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        // INVARIANT: It is null.
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            owned: PhantomData,
        }
    }

    /// The value, if it has been made.
    #[inline]
    pub fn get(&self) -> Option<Pin<&T>> {
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: By the type invariant it is null, or stays valid as long as this does.
        let value = unsafe { value.as_ref() }?;
        // SAFETY: By the type invariant it is pinned.
        Some(unsafe { Pin::new_unchecked(value) })
    }

    /// The value, which is made of `init` unless there is one. Where several ask at once all get
    /// the same. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, and what `init` says.
    pub fn get_or_init<E>(&self, init: impl PinInit<T, E>) -> Result<Pin<&T>>
    where
        Error: From<E>,
    {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let new = KBox::pin_init(init, GFP_KERNEL)?;
        // SAFETY: It stays where it is, and is pinned again wherever it is used.
        let new = KBox::into_raw(unsafe { Pin::into_inner_unchecked(new) });
        // INVARIANT: It takes the place of null only.
        let exchanged =
            self.value
                .compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
        if exchanged.is_err() {
            // SAFETY: It was made above, and nobody else has seen it.
            drop(unsafe { owned(new) });
        }
        self.get().ok_or(ENOMEM)
    }
}

impl<T> Drop for Lazy<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: By the type invariant; nobody can ask for it any more.
            drop(unsafe { owned(value) });
        }
    }
}

impl<T: Send> Default for Lazy<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// # Safety
///
/// `value` is what [`KBox::into_raw`] has given, of which nobody makes anything else.
unsafe fn owned<T>(value: *mut T) -> Pin<KBox<T>> {
    // SAFETY: By the function's contract.
    KBox::into_pin(unsafe { KBox::from_raw(value) })
}
