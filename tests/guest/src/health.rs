// SPDX-License-Identifier: GPL-2.0

//! What the kernel itself knows of its health: its taint, and what the debugging kernels find.
//!
//! Reports are also read off the log as they come. These are asked for, and tell of a report that nobody saw and of a
//! checker that has given up.

use std::fs;
use std::time::Duration;

const TAINT: &str = "/proc/sys/kernel/tainted";
const LOCKDEP: &str = "/proc/lockdep_stats";
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Taints that tell where a module comes from, and that KUnit ran: out of tree, unsigned, test.
const HARMLESS: u64 = (1 << 12) | (1 << 13) | (1 << 18);

/// Younger objects are not looked at: they may be on their way to where a pointer to them is kept.
const KMEMLEAK_AGE: Duration = Duration::from_secs(6);

/// How a check went.
pub type Finding = (&'static str, Result<(), String>);

/// A kernel whose health is compared with what it was.
#[derive(Debug)]
pub struct Health {
    taint: u64,
}

impl Health {
    /// Notes how it is now.
    pub fn now() -> Self {
        Self { taint: taint() }
    }

    /// What the checks of this kernel find since then.
    pub fn check(&self) -> Vec<Finding> {
        let mut findings = vec![("untainted", self.untainted())];
        if fs::exists(LOCKDEP).unwrap_or(false) {
            findings.push(("lockdep_works", lockdep_works()));
        }
        if finds_leaks() {
            findings.push(("no_leak", no_leak()));
        }
        findings
    }

    fn untainted(&self) -> Result<(), String> {
        match taint() & !self.taint & !HARMLESS {
            0 => Ok(()),
            new => Err(format!("the kernel has become tainted: {new:#x}")),
        }
    }
}

fn taint() -> u64 {
    let text = fs::read_to_string(TAINT).unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

/// The first report, or a lack of room, ends all checking of locks.
fn lockdep_works() -> Result<(), String> {
    let stats = fs::read_to_string(LOCKDEP).map_err(|e| e.to_string())?;
    match is_lockdep_on(&stats) {
        Some(true) => Ok(()),
        Some(false) => Err("lockdep has turned itself off".into()),
        None => Err(format!("{LOCKDEP} does not say whether it is on")),
    }
}

fn is_lockdep_on(stats: &str) -> Option<bool> {
    let value = stats
        .lines()
        .find_map(|l| l.trim().strip_prefix("debug_locks:"))?;
    Some(value.trim() == "1")
}

/// Whether this kernel finds memory that nothing points at any more.
pub fn finds_leaks() -> bool {
    fs::exists(KMEMLEAK).unwrap_or(false)
}

fn scan() -> std::io::Result<()> {
    fs::write(KMEMLEAK, "scan")
}

/// Memory that nothing points at any more. An object is reported when two scans find it so, and unchanged. Nor does a scan succeed where kmemleak has turned itself off.
fn no_leak() -> Result<(), String> {
    let look = || -> std::io::Result<String> {
        std::thread::sleep(KMEMLEAK_AGE);
        scan()?;
        scan()?;
        fs::read_to_string(KMEMLEAK)
    };
    let found = look().map_err(|e| format!("{KMEMLEAK}: {e}"))?;
    if found.trim().is_empty() {
        Ok(())
    } else {
        Err(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdep_says_whether_it_is_on() {
        let stats =
            |on| format!(" lock-classes: 1 [max: 8192]\n debug_locks:     {on}\n\n zapped: 1\n");
        assert_eq!(is_lockdep_on(&stats(1)), Some(true));
        assert_eq!(is_lockdep_on(&stats(0)), Some(false));
        assert_eq!(is_lockdep_on(""), None);
    }
}
