// SPDX-License-Identifier: GPL-2.0

//! Random numbers that follow from a number.

/// Splitmix64.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers that follow from one.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below another.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number that is mostly small, and otherwise where things break.
    pub fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => self.of(&[
                0x7f,
                0xfff,
                0x1000,
                0x7ff0,
                0xffff,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                1 << 44,
                1 << 52,
                u64::MAX >> 1,
                u64::MAX,
            ]),
            1 => self.next() >> self.below(64),
            _ => self.below(8) as u64,
        }
    }
}
