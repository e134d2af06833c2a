// SPDX-License-Identifier: GPL-2.0

//! What all open files have together.

use kernel::{
    debugfs,
    fmt,
    prelude::*, //
};
use xen::ext::gauge::Gauge;

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
