// SPDX-License-Identifier: GPL-2.0

//! An array whose length does not change, and most often is one.

use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*, //
};

/// An array of fixed length, which allocates nothing for a single element.
pub enum Few<T> {
    /// One element.
    One(T),
    /// Any number of elements.
    Many(KVVec<T>),
}

impl<T> Few<T> {
    /// An array of `len` elements, each made by `make`.
    ///
    /// `len` must have been checked against a limit. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn from_fn(len: usize, mut make: impl FnMut() -> T) -> Result<Self> {
        if len == 1 {
            return Ok(Self::One(make()));
        }
        let mut many = KVVec::with_capacity(len, GFP_KERNEL | __GFP_NOWARN)?;
        for _ in 0..len {
            many.push(make(), GFP_KERNEL)?;
        }
        Ok(Self::Many(many))
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => core::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => core::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }
}
