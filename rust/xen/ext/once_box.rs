// SPDX-License-Identifier: GPL-2.0

//! What is made when it is first needed, and then found at the cost of a load.

use super::once::Once;
use core::marker::PhantomData;
use kernel::prelude::*;

/// A place for a box, which is filled once and for good.
///
/// # Invariants
///
/// The pointer is null, or came from [`KBox::into_raw`], and then stays until the place is dropped.
pub struct OnceBox<T> {
    at: Once<T>,
    _owns: PhantomData<KBox<T>>,
}

// SAFETY: Shared, it gives out references; exclusively owned, the value can be sent.
unsafe impl<T: Send + Sync> Sync for OnceBox<T> {}

impl<T> OnceBox<T> {
    /// An empty place.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            at: Once::new(),
            _owns: PhantomData,
        }
    }

    /// What is there, if anything is.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: By the type invariant it is null, or valid as long as the place is.
        unsafe { self.at.get().as_ref() }
    }

    /// Puts `value` in, unless there is one already, which is then kept.
    pub fn fill(&self, value: KBox<T>) -> &T {
        let value = KBox::into_raw(value);
        // INVARIANT: It came from `into_raw` just now.
        match self.at.fill(value) {
            // SAFETY: By the type invariant it stays as long as the place.
            Ok(()) => unsafe { &*value },
            Err(former) => {
                // SAFETY: It came from `into_raw` just now, and was not put in.
                drop(unsafe { KBox::from_raw(value) });
                // SAFETY: By the type invariant, as it is not null.
                unsafe { &*former }
            }
        }
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        let at = self.at.get();
        if !at.is_null() {
            // SAFETY: By the type invariant it came from `into_raw`; nobody has a reference now.
            drop(unsafe { KBox::from_raw(at) });
        }
    }
}
