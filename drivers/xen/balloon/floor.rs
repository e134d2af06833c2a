// SPDX-License-Identifier: GPL-2.0

//! How little memory a domain can live with.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// Points of a curve that is straight between them: a domain that can have so many MiB needs so
/// many.
///
/// What a kernel needs for itself grows with its memory: a `struct page` of 64 bytes for each page
/// is 1.6 % whether or not the page is there, and there are tables sized by memory at boot. What
/// its processes need hardly grows. The curve is that of the balloon driver of XenLinux, which
/// was found by trying: all of a tiny domain, a half at 128 MiB, an eighth from 2 GiB, and 1/32
/// from there on.
const CURVE: &[(u64, u64)] = &[
    (0, 0),
    (16, 16),
    (32, 24),
    (128, 72),
    (512, 168),
    (2048, 360),
    (8192, 552),
    (32768, 1320),
    (131072, 4392),
];

/// How much the curve rises beyond its last point: one in so many.
const BEYOND: u64 = 32;

/// 4 KiB pages of a MiB.
const MIB: u64 = 256;

/// The least a domain should be left with, given how much it can have. Both in 4 KiB pages.
pub fn default_floor(total: u64) -> u64 {
    let mut from = (0, 0);
    for &(memory, floor) in CURVE {
        let to = (memory * MIB, floor * MIB);
        if total < to.0 {
            // Both factors are less than the last point's numbers of pages, of 26 bits each.
            return from.1 + (to.1 - from.1) * (total - from.0) / (to.0 - from.0);
        }
        from = to;
    }
    from.1.saturating_add((total - from.0) / BEYOND)
}
