// SPDX-License-Identifier: GPL-2.0

//! What this system was booted as and for.

use std::fs;

use crate::sys;
use crate::xen::Kind;

/// Whose drivers are to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drivers {
    /// These.
    Rust,
    /// The kernel's own.
    C,
}

impl Drivers {
    /// The others.
    pub fn other(self) -> Self {
        match self {
            Self::Rust => Self::C,
            Self::C => Self::Rust,
        }
    }
}

/// The kernel command line's words for this program, all beginning with `xen_rust.`.
#[derive(Debug)]
pub struct Words(String);

impl Words {
    /// Reads `/proc/cmdline`.
    pub fn read() -> Self {
        Self(fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    /// A word's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = |w: &'_ str| -> Option<usize> {
            let rest = w
                .strip_prefix("xen_rust.")?
                .strip_prefix(name)?
                .strip_prefix('=')?;
            Some(w.len() - rest.len())
        };
        self.0
            .split_whitespace()
            .rev()
            .find_map(|w| value(w).map(|at| &w[at..]))
    }

    /// `xen_rust.drivers`: these drivers unless it says otherwise.
    pub fn drivers(&self) -> Drivers {
        match self.get("drivers") {
            Some("c") => Drivers::C,
            _ => Drivers::Rust,
        }
    }
}

/// Whether tests are to take the time they need for all that they can show (`xen_rust.long=1`), rather than the few
/// seconds that a run at every change has for each.
pub fn long() -> bool {
    Words::read().get("long") == Some("1")
}

/// How many times longer everything takes on this kernel than on another (`xen_rust.slowness=N`).
pub fn slowness() -> u32 {
    let words = Words::read();
    let slowness = words.get("slowness").and_then(|n| n.parse().ok());
    slowness.unwrap_or(1)
}

/// How many of something that takes its time each, where so many are asked for on another kernel than a slow one.
pub fn fewer(count: usize) -> usize {
    count.div_ceil(slowness() as usize)
}

/// Whether this kernel reports locks that are taken in orders which exclude each other.
pub fn has_lockdep() -> bool {
    fs::exists("/proc/lockdep").unwrap_or(false)
}

/// Whether this kernel writes over each page that is freed (`page_poison=1`).
pub fn poisons_pages() -> bool {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    words.split_whitespace().any(|word| word == "page_poison=1")
}

/// What this domain is to Xen, if it runs on Xen at all.
pub fn kind() -> Option<Kind> {
    match fs::read_to_string("/sys/hypervisor/guest_type")
        .ok()?
        .trim()
    {
        "PV" => Some(Kind::Pv),
        _ => Some(Kind::Pvh),
    }
}

/// Mounts what every program expects.
pub fn mount_all() {
    let mounts = [
        ("proc", "/proc", "proc"),
        ("sysfs", "/sys", "sysfs"),
        ("devtmpfs", "/dev", "devtmpfs"),
        ("devpts", "/dev/pts", "devpts"),
        ("tmpfs", "/dev/shm", "tmpfs"),
        ("debugfs", "/sys/kernel/debug", "debugfs"),
        ("securityfs", "/sys/kernel/security", "securityfs"),
        ("tmpfs", "/run", "tmpfs"),
        ("tmpfs", "/tmp", "tmpfs"),
    ];
    for (source, target, kind) in mounts {
        // A directory that cannot be made exists, or the mount tells.
        let _ = fs::create_dir_all(target);
        if let Err(error) = sys::mount(source, target, kind) {
            println!("init: {target}: {error}");
        }
    }
    for directory in [
        "/var/lock",
        "/var/log/xen",
        "/var/lib/xen",
        "/var/lib/xenstored",
        "/run/xen",
        "/run/lock",
    ] {
        let _ = fs::create_dir_all(directory);
    }
    // What udev makes elsewhere: scripts know their files by these names.
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        let _ = std::os::unix::fs::symlink(target, format!("/dev/{name}"));
    }
    // Where the image has no /var/run link, Xen's tools still look there.
    let _ = std::os::unix::fs::symlink("/run", "/var/run");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let words = Words(
            "console=hvc0 xen_rust.mode=test xen_rust.filter=a=b xen_rust.mode=run mode=x".into(),
        );
        assert_eq!(words.get("mode"), Some("run"));
        assert_eq!(words.get("filter"), Some("a=b"));
        assert_eq!(words.get("cmd"), None);
        assert_eq!(words.drivers(), Drivers::Rust);
    }
}
