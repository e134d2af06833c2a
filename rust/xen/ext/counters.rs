// SPDX-License-Identifier: GPL-2.0

//! Event counters, one set for each CPU, shown in debugfs.
//!
//! Counting takes no lock and shares no cache line between CPUs. A total that is read while others
//! count may miss what is being counted.
//!
//! C headers: `include/linux/percpu-defs.h`, `include/linux/debugfs.h`.

use crate::bindings;
use core::{
    cell::UnsafeCell,
    marker::PhantomData, //
};
use kernel::{
    debugfs,
    fmt,
    prelude::*, //
};

/// What can be counted. Made by [`counters!`](crate::counters).
pub trait Counter: Copy + Send + Sync + 'static {
    /// The names, in the order of the indices.
    const NAMES: &'static [&'static str];

    /// Which of them this is.
    fn index(self) -> usize;
}

/// The counters' place in the section that the kernel copies for each CPU.
#[doc(hidden)]
#[repr(transparent)]
pub struct PerCpu<const N: usize>(UnsafeCell<[u64; N]>);

// SAFETY: The static itself is never accessed, only its copies, by the per-CPU helpers.
unsafe impl<const N: usize> Sync for PerCpu<N> {}

impl<const N: usize> PerCpu<N> {
    #[doc(hidden)]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }
}

/// A set of counters, named by `C`.
///
/// # Invariants
///
/// `first` is the per-CPU address of an array with a `u64` for each of `C`'s names.
pub struct Counters<C> {
    first: *mut u64,
    _names: PhantomData<C>,
}

/// One counter of a set.
///
/// # Invariants
///
/// `slot` is the per-CPU address of a `u64`.
pub(crate) struct OneCounter<'a> {
    slot: *mut u64,
    _set: PhantomData<&'a ()>,
}

impl OneCounter<'_> {
    /// The per-CPU address.
    #[inline]
    pub(crate) fn slot(&self) -> *mut u64 {
        self.slot
    }
}

// SAFETY: The per-CPU helpers may be called from any context.
unsafe impl<C> Send for Counters<C> {}
// SAFETY: As above.
unsafe impl<C> Sync for Counters<C> {}

impl<C: Counter> Counters<C> {
    /// # Safety
    ///
    /// `slots` is in the section for per-CPU data of the module.
    #[doc(hidden)]
    pub const unsafe fn new<const N: usize>(slots: *const PerCpu<N>) -> Self {
        assert!(N == C::NAMES.len());
        // INVARIANT: By the contract and the length.
        Self {
            first: slots as *mut u64,
            _names: PhantomData,
        }
    }

    fn slot(&self, index: usize) -> *mut u64 {
        // A per-CPU address: not to be dereferenced, hence wrapping.
        self.first.wrapping_add(index)
    }

    /// Counts one more of `what`. Works in any context.
    #[inline]
    pub fn inc(&self, what: C) {
        let index = what.index();
        if index < C::NAMES.len() {
            // SAFETY: By the type invariant there is such a slot.
            unsafe { bindings::xen_rust_percpu_inc(self.first.wrapping_add(index)) };
        }
    }

    /// The counter of `what`, for a wrapper in C that counts on the way to something else.
    #[inline]
    pub(crate) fn counter(&self, what: C) -> OneCounter<'_> {
        let index = what.index();
        // Never: an index that has no name. It would be counted as the first.
        let index = if index < C::NAMES.len() { index } else { 0 };
        // INVARIANT: By the type invariant there is such a slot.
        OneCounter {
            slot: self.first.wrapping_add(index),
            _set: PhantomData,
        }
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in C::NAMES.iter().enumerate() {
            // SAFETY: By the type invariant there is such a slot.
            let total = unsafe { bindings::xen_rust_percpu_sum(self.slot(index)) };
            writeln!(f, "{name} {total}")?;
        }
        Ok(())
    }

    /// Shows the counters as a file `calls` in `dir`: lines of `name total`.
    ///
    /// The file goes with the value.
    pub fn debugfs<'a>(
        &'static self,
        dir: &'a debugfs::Dir,
    ) -> impl PinInit<debugfs::File<&'static Self>> + 'a {
        dir.read_callback_file(c"calls", self, &|counters: &&'static Self, f| {
            counters.show(f)
        })
    }
}

/// Defines an enum of what is counted, and a `static` [`Counters`] of it.
///
/// ```ignore
/// counters! {
///     /// The ioctls.
///     pub(crate) enum Call, pub(crate) static CALLS {
///         /// A null call.
///         Null = "null",
///     }
/// }
/// CALLS.inc(Call::Null);
/// ```
#[macro_export]
macro_rules! counters {
    (
        $(#[$attr:meta])*
        $evis:vis enum $name:ident, $svis:vis static $set:ident {
            $($(#[$vattr:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$attr])*
        #[derive(Copy, Clone)]
        $evis enum $name {
            $($(#[$vattr])* $variant,)+
        }

        impl $crate::ext::counters::Counter for $name {
            const NAMES: &'static [&'static str] = &[$($text),+];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }

        $(#[$attr])*
        $svis static $set: $crate::ext::counters::Counters<$name> = {
            const N: usize = <$name as $crate::ext::counters::Counter>::NAMES.len();
            #[link_section = ".data..percpu"]
            static SLOTS: $crate::ext::counters::PerCpu<N> =
                $crate::ext::counters::PerCpu::new();
            // SAFETY: The static is in that section.
            unsafe { $crate::ext::counters::Counters::new(&raw const SLOTS) }
        };
    };
}
