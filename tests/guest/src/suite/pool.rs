// SPDX-License-Identifier: GPL-2.0

//! The kernel's pool of addresses without memory behind them, where other domains' pages are placed.

use std::fs;

use super::Aid;
use crate::ktap::{OrFail, TestResult};

/// The kernel's count of the pages in the pool.
const COUNT: &str = "list_count";

/// More pages than there are.
const ALL: usize = 1 << 40;

/// The pool, while a module tells of it.
pub struct Pool(Aid);

impl Pool {
    /// Skips the test where the image lacks what it takes.
    pub fn open() -> TestResult<Self> {
        let symbols = fs::read_to_string("/proc/kallsyms")?;
        let at = address(&symbols)
            .ok_or("the kernel has no such count")
            .or_fail()?;
        Aid::load_with("xen-pool", &format!("at=0x{at}")).map(Self)
    }

    /// How many pages are missing in it, of a number that stays the same as long as it is not enlarged.
    pub fn missing(&self) -> TestResult<usize> {
        let free = fs::read_to_string(self.0.parameter("free"))?;
        let free: usize = free.trim().parse().or_fail()?;
        Ok(ALL - free)
    }
}

/// The address in a line `address type name`.
fn address(symbols: &str) -> Option<&str> {
    symbols.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let address = words.next()?;
        (words.nth(1)? == COUNT && words.next().is_none()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_own_symbol_is_found() {
        let symbols = "ffff1 T list\nffff2 b list_count\nffff3 b list_count\t[module]\n";
        assert_eq!(address(symbols), Some("ffff2"));
        assert_eq!(address("ffff3 b list_count\t[module]\n"), None);
    }
}
