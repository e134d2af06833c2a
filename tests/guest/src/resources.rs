// SPDX-License-Identifier: GPL-2.0

//! What must be the same after a test as before it.
//!
//! Releases may be asynchronous, so what is left over has a moment to go away.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::ktap::{fail, TestResult};
use crate::sys::{self, Errno};
use crate::xen::Xen;

/// What the kernel prints when something is wrong, whichever configuration it has.
const REPORTS: [&str; 27] = [
    "WARNING:",
    "BUG:",
    "BUG kmalloc",
    "kernel BUG",
    "Oops",
    "Kernel panic",
    "Unable to handle",
    "general protection fault",
    "rust_kernel: panicked",
    "refcount_t:",
    "Bad page",
    "bad pte",
    "Bad rss-counter",
    "list_add corruption",
    "list_del corruption",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "blocked for more than",
    "soft lockup",
    "rcu_preempt detected stalls",
    "KASAN:",
    "UBSAN:",
    "ODEBUG:",
    "trying to register non-static key",
    "nobody cared",
];

/// Modules whose use count a test must not change.
const MODULES: [&str; 6] = [
    "xen_privcmd",
    "xen_evtchn",
    "xen_gntdev",
    "xen_gntalloc",
    "xen_balloon",
    "xenfs",
];

/// Whether a line of the kernel's log reports something wrong.
pub fn is_report(line: &str) -> bool {
    REPORTS.iter().any(|r| line.contains(r))
}

/// Reads the kernel's log as it grows.
#[derive(Debug)]
pub struct KernelLog {
    file: OwnedFd,
}

impl KernelLog {
    /// Begins after what is there now.
    pub fn from_now() -> sys::Result<Self> {
        let file = sys::open("/dev/kmsg", libc::O_RDONLY | libc::O_NONBLOCK)?;
        // SAFETY: Takes only numbers.
        Errno::check(unsafe {
            libc::lseek(std::os::fd::AsRawFd::as_raw_fd(&file), 0, libc::SEEK_END)
        })?;
        Ok(Self { file })
    }

    /// The messages since the last call, without their prefix.
    pub fn new_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match sys::read(&self.file, &mut record) {
                Ok(0) => break,
                Ok(n) => {
                    let text = String::from_utf8_lossy(&record[..n]);
                    let message = text.split_once(';').map_or("", |(_, m)| m);
                    lines.push(message.lines().next().unwrap_or("").to_owned());
                }
                // The log overran what has not been read.
                Err(Errno(libc::EPIPE)) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// What the system holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Holdings {
    ports: Option<usize>,
    domains: Vec<u16>,
    uses: Vec<(&'static str, Option<i64>)>,
}

impl Holdings {
    fn now() -> Self {
        let uses = MODULES.iter().map(|m| (*m, module_uses(m))).collect();
        // Opened only now, so that asking does not count as a use.
        let Ok(xen) = Xen::open() else {
            return Self {
                uses,
                ..Self::default()
            };
        };
        let domains = xen
            .domains()
            .unwrap_or_default()
            .iter()
            .map(|d| d.domain)
            .collect();
        Self {
            ports: xen.open_ports(crate::abi::DOMID_SELF).ok(),
            domains,
            uses,
        }
    }

    /// What is more than before, as messages.
    fn excess(&self, before: &Self) -> Vec<String> {
        let mut excess = Vec::new();
        if let (Some(was), Some(is)) = (before.ports, self.ports) {
            if is > was {
                excess.push(format!("left {} event channels open", is - was));
            }
        }
        for domain in self.domains.iter().filter(|d| !before.domains.contains(d)) {
            excess.push(format!(
                "left domain {domain} behind: not destroyed, or its pages still held"
            ));
        }
        for ((name, was), (_, is)) in before.uses.iter().zip(&self.uses) {
            if let (Some(was), Some(is)) = (was, is) {
                if is > was {
                    excess.push(format!("left {} uses of module {name}", is - was));
                }
            }
        }
        excess
    }
}

/// How often a module is used, if it is loaded.
pub fn module_uses(name: &str) -> Option<i64> {
    fs::read_to_string(format!("/sys/module/{name}/refcnt"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// A number of `/proc/meminfo`, in KiB.
pub fn meminfo(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = text
        .lines()
        .find_map(|l| l.strip_prefix(field)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

/// Memory that nobody uses, in KiB.
///
/// What a CPU keeps for itself of the pages that were freed on it is free as well, but is not counted as such. Nor are
/// objects that KASAN keeps for a while after they were freed, and what kmemleak notes of each: where that is at work, it
/// finds objects that are lost, and all memory for objects counts as free here.
pub fn free_memory() -> u64 {
    let objects = if crate::health::finds_leaks() {
        meminfo("Slab").unwrap_or(0)
    } else {
        0
    };
    meminfo("MemFree").unwrap_or(0) + kept_by_cpus() + objects
}

/// Does the work, and finds less than so many KiB gone afterwards.
///
/// What is lost is lost each time. Others take memory and give it back, so there are three attempts.
pub fn loses_less_than(kib: u64, mut work: impl FnMut() -> TestResult) -> TestResult {
    let mut least = u64::MAX;
    for _ in 0..3 {
        let before = free_memory();
        work()?;
        least = least.min(before.saturating_sub(free_memory()));
        if least < kib {
            return Ok(());
        }
    }
    fail(format_args!("{least} KiB are gone each time"))
}

/// The pages on the CPUs' own lists of free ones, in KiB.
fn kept_by_cpus() -> u64 {
    let zones = fs::read_to_string("/proc/zoneinfo").unwrap_or_default();
    let pages: u64 = zones
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("count:")?
                .trim()
                .parse::<u64>()
                .ok()
        })
        .sum();
    pages * 4
}

/// How long leftovers may take to go.
const PATIENCE: Duration = Duration::from_secs(15);

/// Watches the system over tests.
#[derive(Debug)]
pub struct Watch {
    log: Option<KernelLog>,
    before: Holdings,
}

impl Watch {
    /// Begins to watch.
    pub fn start() -> Self {
        Self {
            log: KernelLog::from_now().ok(),
            before: Holdings::default(),
        }
    }

    /// Notes what the system holds before a test.
    pub fn before(&mut self) {
        self.kernel_reports();
        self.before = Holdings::now();
    }

    /// Compares with what the system holds after the test; gives what is wrong.
    pub fn after(&mut self) -> Vec<String> {
        let mut excess = Vec::new();
        sys::eventually(PATIENCE * crate::boot::slowness(), || {
            excess = Holdings::now().excess(&self.before);
            excess.is_empty()
        });
        if !excess.is_empty() {
            self.destroy_new_domains();
        }
        excess.append(&mut self.kernel_reports());
        excess
    }

    /// What the kernel has reported since the last time.
    pub fn kernel_reports(&mut self) -> Vec<String> {
        let lines = self
            .log
            .as_ref()
            .map(KernelLog::new_lines)
            .unwrap_or_default();
        let mut reports = Vec::new();
        let mut context = 0;
        for line in lines {
            if is_report(&line) {
                context = 12;
            }
            if context > 0 {
                context -= 1;
                reports.push(format!("kernel: {line}"));
            }
        }
        reports
    }

    /// Keeps what one test left from disturbing the next.
    fn destroy_new_domains(&self) {
        let Ok(xen) = Xen::open() else { return };
        for info in xen.domains().unwrap_or_default() {
            if info.is_bare() && !self.before.domains.contains(&info.domain) {
                let _ = xen.destroy_domain(info.domain);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_told_from_other_messages() {
        assert!(is_report("WARNING: drivers/xen/x.c:1 at f+0x1/0x2"));
        assert!(is_report("rust_kernel: panicked at 'x'"));
        assert!(!is_report("xen:xen_evtchn: Event-channel device installed"));
    }
}
