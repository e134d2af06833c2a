// SPDX-License-Identifier: GPL-2.0

//! What all open files have together.

use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use kernel::{
    debugfs,
    fmt,
    prelude::*, //
};

/// A number of things that come and go.
pub(crate) struct Gauge(AtomicUsize);

impl Gauge {
    pub(crate) const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    /// The number now.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many more.
    pub(crate) fn add(&self, n: usize) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// So many less.
    pub(crate) fn sub(&self, n: usize) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// So many more, unless there would be more than `limit` then.
    pub(crate) fn add_within(&self, n: usize, limit: usize) -> Result {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(n).filter(|&sum| sum <= limit)
            })
            .map(|_| ())
            .map_err(|_| ENOSPC)
    }

    /// Replaces a part of the number, which was `old`, by another.
    pub(crate) fn change(&self, old: usize, new: usize) {
        self.0.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
    }
}

/// What all open files have together.
pub(crate) struct Stats {
    /// Maps.
    pub(crate) maps: Gauge,
    /// The grants of all maps.
    pub(crate) grants: Gauge,
    /// Grants that are mapped.
    pub(crate) mapped: Gauge,
    /// Grants that are to be unmapped, but still referred to, or refused by Xen.
    pub(crate) waiting: Gauge,
}

pub(crate) static STATS: Stats = Stats {
    maps: Gauge::new(),
    grants: Gauge::new(),
    mapped: Gauge::new(),
    waiting: Gauge::new(),
};

impl Stats {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "maps {}", self.maps.get())?;
        writeln!(f, "grants {}", self.grants.get())?;
        writeln!(f, "mapped {}", self.mapped.get())?;
        writeln!(f, "waiting {}", self.waiting.get())
    }

    /// Shows the numbers as a file `grants` in `dir`: lines of `name number`.
    pub(crate) fn debugfs<'a>(
        &'static self,
        dir: &'a debugfs::Dir,
    ) -> impl PinInit<debugfs::File<&'static Self>> + 'a {
        dir.read_callback_file(c"grants", self, &|stats: &&'static Self, f| stats.show(f))
    }
}
