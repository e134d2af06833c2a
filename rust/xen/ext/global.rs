// SPDX-License-Identifier: GPL-2.0

//! What a module makes when it is loaded and all its files use.
//!
//! A static is not dropped when a module goes. [`Global`] is a static whose contents are.

use core::{
    marker::PhantomData,
    ptr,
    sync::atomic::{
        AtomicPtr,
        AtomicUsize,
        Ordering, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// A place for an [`Arc`], empty at first.
///
/// # Invariants
///
/// `value` is null, or owns a reference that came from [`Arc::into_raw`]. Who finds it not null
/// while counted in `readers` may use it until no longer counted.
pub struct Global<T: Send + Sync + 'static> {
    value: AtomicPtr<T>,
    readers: AtomicUsize,
    _owns: PhantomData<Arc<T>>,
}

// SAFETY: The value may be used from everywhere, and atomics guard the place.
unsafe impl<T: Send + Sync> Sync for Global<T> {}

impl<T: Send + Sync + 'static> Global<T> {
    /// An empty place.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            readers: AtomicUsize::new(0),
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
        match self.value.compare_exchange(
            ptr::null_mut(),
            value,
            Ordering::SeqCst,
            Ordering::Relaxed,
        ) {
            // INVARIANT: The reference moves into the place.
            Ok(_) => Ok(Installed(self)),
            Err(_) => {
                // SAFETY: The pointer came from `into_raw` just now.
                drop(unsafe { Arc::from_raw(value) });
                Err(EBUSY)
            }
        }
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<Arc<T>> {
        self.readers.fetch_add(1, Ordering::SeqCst);
        let value = self.value.load(Ordering::SeqCst);
        let result = if value.is_null() {
            None
        } else {
            // SAFETY: By the type invariant the place's reference is there until we are counted
            // out, and it is the place's: the borrow is copied, not consumed.
            let borrowed = unsafe { kernel::sync::ArcBorrow::from_raw(value) };
            Some(borrowed.into())
        };
        self.readers.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// Empties the place again when dropped.
pub struct Installed<T: Send + Sync + 'static>(&'static Global<T>);

impl<T: Send + Sync + 'static> Drop for Installed<T> {
    fn drop(&mut self) {
        let value = self.0.value.swap(ptr::null_mut(), Ordering::SeqCst);
        // Whoever is counted in from now on finds nothing. The others have but to copy it.
        while self.0.readers.load(Ordering::SeqCst) != 0 {
            core::hint::spin_loop();
        }
        // SAFETY: By the type invariant the place owned a reference, put there by `install`, whose
        // guard this is, and now nobody is using it.
        drop(unsafe { Arc::from_raw(value) });
    }
}
