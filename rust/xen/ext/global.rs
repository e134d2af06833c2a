// SPDX-License-Identifier: GPL-2.0

//! What a module makes when it is loaded and all its files use.
//!
//! A static is not dropped when a module goes. [`Global`] is a static whose contents are.

use super::lent::Lent;
use core::marker::PhantomData;
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A place for an [`Arc`], empty at first.
///
/// # Invariants
///
/// The place is empty, or owns a reference that came from [`Arc::into_raw`].
pub struct Global<T: Send + Sync + 'static> {
    place: Lent<T>,
    _owns: PhantomData<Arc<T>>,
}

// SAFETY: The value may be used from everywhere, and atomics guard the place.
unsafe impl<T: Send + Sync> Sync for Global<T> {}

impl<T: Send + Sync + 'static> Global<T> {
    /// An empty place.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            place: Lent::new(),
            _owns: PhantomData,
        }
    }

    /// Puts `value` in, for as long as the returned guard lives.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a value already.
    pub fn install(&'static self, value: Arc<T>) -> Result<Installed<T>> {
        let value = value.into_raw().cast_mut();
        // INVARIANT: The reference moves into the place.
        if self.place.fill(value) {
            return Ok(Installed(self));
        }
        // SAFETY: The pointer came from `into_raw` just now.
        drop(unsafe { Arc::from_raw(value) });
        Err(EBUSY)
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<Arc<T>> {
        self.place.with(|value| {
            // SAFETY: By the type invariant it is a reference of the place, which nobody takes out
            // meanwhile: the borrow is copied, not consumed.
            unsafe { kernel::sync::ArcBorrow::from_raw(value) }.into()
        })
    }
}

/// Empties the place again when dropped.
pub struct Installed<T: Send + Sync + 'static>(&'static Global<T>);

impl<T: Send + Sync + 'static> Drop for Installed<T> {
    fn drop(&mut self) {
        // Those who borrow it have but to copy it.
        let value = self.0.place.empty(core::hint::spin_loop);
        // SAFETY: By the type invariant the place owned a reference, put there by `install`, whose
        // guard this is, and now nobody is using it.
        drop(unsafe { Arc::from_raw(value) });
    }
}
