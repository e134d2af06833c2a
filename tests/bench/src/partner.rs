// SPDX-License-Identifier: GPL-2.0

//! The other domain: it never runs, but has memory to map and grants to use.

use xen_guest::sys::Result;
use xen_guest::xen::grant::GrantTable;
use xen_guest::xen::{BareDomain, Kind};

/// How many frames it has: 256 MiB.
pub const FRAMES: usize = 65_536;
/// How many grants it gives.
pub const GRANTS: usize = 4_096;
/// Bytes of a page.
pub const PAGE: usize = xen_guest::sys::PAGE;

/// The other domain.
#[derive(Debug)]
pub struct Partner {
    /// The domain.
    pub domain: BareDomain,
    /// Its frames, in an order as a toolstack maps them.
    pub frames: Vec<u64>,
    /// The references of the grants of its first frames, all writable.
    pub references: Vec<u32>,
    _table: GrantTable,
}

impl Partner {
    /// Makes the domain, gives it memory and lets it grant.
    pub fn new() -> Result<Self> {
        let domain = BareDomain::new(Kind::Pvh)?;
        let frames = domain.populate(FRAMES)?;
        let mut table = GrantTable::map(&domain, GRANTS)?;
        let references = table.grant(&frames[..GRANTS], true);
        Ok(Self {
            domain,
            frames,
            references,
            _table: table,
        })
    }
}
