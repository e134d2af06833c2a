// SPDX-License-Identifier: GPL-2.0

//! The map of its memory that a domain was started with.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// A range of addresses, as a PC's firmware tells of it.
#[repr(C, packed)]
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub start: u64,
    /// How many bytes it has.
    pub size: u64,
    /// What it is.
    pub kind: u32,
}

impl Range {
    /// Memory to be used.
    pub const RAM: u32 = 1;

    fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// Where the hole for devices ends.
const HIGH: u64 = 1 << 32;

/// How many bytes the toolstack counts as the domain's.
///
/// It puts memory at 0, up to the hole for devices, and the rest behind that. What the map leaves
/// out further down, for firmware, it counts nonetheless.
pub fn bytes(map: &[Range]) -> u64 {
    let ram = || map.iter().filter(|range| range.kind == Range::RAM);
    let low = ram()
        .filter(|range| range.start < HIGH)
        .map(Range::end)
        .max()
        .unwrap_or(0);
    ram()
        .filter(|range| range.start >= HIGH)
        .fold(low, |sum, range| sum.saturating_add(range.size))
}
