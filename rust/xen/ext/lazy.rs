// SPDX-License-Identifier: GPL-2.0

//! A value that is made when it is first asked for, and takes no more than a pointer until then.

use super::once_box::OnceBox;
use core::pin::Pin;
use kernel::prelude::*;

/// Holds a `T` once somebody has asked for it.
///
/// # Invariants
///
/// What is in the box never moves, and nobody gets it but pinned.
pub struct Lazy<T>(OnceBox<T>);

impl<T: Send> Lazy<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// The value, if it has been made.
    #[inline]
    pub fn get(&self) -> Option<Pin<&T>> {
        let value = self.0.get()?;
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
        // SAFETY: It stays where it is, and by the type invariant is pinned wherever it is used.
        let new = unsafe { Pin::into_inner_unchecked(new) };
        // INVARIANT: The place drops the box where it is.
        let value = self.0.fill(new);
        // SAFETY: By the type invariant it is pinned.
        Ok(unsafe { Pin::new_unchecked(value) })
    }
}

impl<T: Send> Default for Lazy<T> {
    fn default() -> Self {
        Self::new()
    }
}
