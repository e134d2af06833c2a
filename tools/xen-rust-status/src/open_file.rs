// SPDX-License-Identifier: GPL-2.0

//! Who has the devices open, and what each open file holds, from `/proc/<pid>/fdinfo`.

use std::fs;

use serde::Serialize;

use crate::system::System;

/// What the kernel itself says of any file.
const COMMON: &[&str] = &["pos", "flags", "mnt_id", "ino"];

/// An open file.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct OpenFile {
    pub path: String,
    pub process: u32,
    pub command: String,
    pub descriptor: u32,
    /// The domain it is restricted to.
    pub restricted_to: Option<u16>,
    /// What the driver says of it. The C drivers say nothing.
    pub holds: Vec<Held>,
}

/// A line of what a file holds.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Held {
    pub what: String,
    pub value: String,
}

impl OpenFile {
    /// All that can be seen, by process and descriptor. Only root sees those of others.
    pub fn all(system: &System) -> Vec<Self> {
        let mut processes: Vec<u32> = system
            .names("/proc")
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        processes.sort_unstable();
        let mut files = Vec::new();
        for process in processes {
            let mut descriptors: Vec<u32> = system
                .names(&format!("/proc/{process}/fd"))
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect();
            descriptors.sort_unstable();
            files.extend(
                descriptors
                    .into_iter()
                    .filter_map(|descriptor| Self::find(system, process, descriptor)),
            );
        }
        files
    }

    /// Nothing if it is another file, or gone already.
    fn find(system: &System, process: u32, descriptor: u32) -> Option<Self> {
        let link = system.path(&format!("/proc/{process}/fd/{descriptor}"));
        let path = fs::read_link(link).ok()?.to_string_lossy().into_owned();
        if !(path.starts_with("/dev/xen/") || path.starts_with("/proc/xen/")) {
            return None;
        }
        let info = system
            .text(&format!("/proc/{process}/fdinfo/{descriptor}"))
            .unwrap_or_default();
        let holds = holds(&info);
        Some(Self {
            path,
            process,
            command: system
                .text(&format!("/proc/{process}/comm"))
                .unwrap_or_default(),
            descriptor,
            restricted_to: restriction(&holds),
            holds,
        })
    }
}

/// What the driver added to a file's information.
fn holds(info: &str) -> Vec<Held> {
    info.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(what, _)| !COMMON.contains(what))
        .map(|(what, value)| Held {
            what: what.to_owned(),
            value: value.trim().to_owned(),
        })
        .collect()
}

/// Each driver has its own name for it; none says "none" or nothing.
fn restriction(holds: &[Held]) -> Option<u16> {
    holds
        .iter()
        .filter(|held| held.what.contains("restricted"))
        .find_map(|held| held.value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_any_file_is_left_out() {
        let info = "pos:\t0\nflags:\t02\nmnt_id:\t25\nino:\t4\nrestricted-to:\tnone\nranges:\t2\n\
                    frames:\t512 of domain 3\nframes:\t1 of domain 4\n";
        let holds = holds(info);
        let lines: Vec<_> = holds.iter().map(|held| held.what.as_str()).collect();
        assert_eq!(lines, ["restricted-to", "ranges", "frames", "frames"]);
        assert_eq!(holds[2].value, "512 of domain 3");
        assert_eq!(restriction(&holds), None);
    }

    #[test]
    fn each_driver_s_restriction_is_known() {
        for info in [
            "restricted-to:\t7\n",
            "evtchn-restricted:\t7\n",
            "gntdev-maps:\t1\ngntdev-restricted:\t7\n",
        ] {
            assert_eq!(restriction(&holds(info)), Some(7), "{info}");
        }
    }
}
