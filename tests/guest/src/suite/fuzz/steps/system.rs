// SPDX-License-Identifier: GPL-2.0

//! What is said to the whole system: parameters of modules, the balloon's files, xenfs.

use std::fs;
use std::os::fd::IntoRawFd;

use super::super::world::Hand;
use crate::sys;

/// Where xenfs is mounted, in a name space of the thread's own.
const MOUNT_POINT: &str = "/mnt";

const BALLOON: &str = "/sys/devices/system/xen_memory/xen_memory0";
/// How far the balloon's target goes down from where it is, in KiB. Each page takes its time.
const SWING: usize = 512;

/// Texts that are no numbers, or too large.
const JUNK: [&str; 12] = [
    "",
    "\n",
    " ",
    "x",
    "-1",
    "0x",
    "12x",
    "1 2",
    "1\n\n",
    "99999999999999999999",
    "18446744073709551615",
    "\u{0}",
];

/// Files whose numbers hold for the whole system, and those numbers.
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// Those there are, as they are now.
    pub fn now() -> Self {
        let mut files = Vec::new();
        for module in ["xen_privcmd", "xen_gntdev"] {
            for name in [
                "dm_op_max_nr_bufs",
                "dm_op_buf_max_size",
                "hypercall_buffer_pages",
                "limit",
                "file_limit",
            ] {
                files.push(format!("/sys/module/{module}/parameters/{name}"));
            }
        }
        for name in [
            "target_kb",
            "floor_kb",
            "max_schedule_delay",
            "max_retry_count",
            "scrub_pages",
        ] {
            files.push(format!("{BALLOON}/{name}"));
        }
        let values = files.into_iter().filter_map(|file| {
            let value = fs::read_to_string(&file).ok()?.trim().to_owned();
            Some((file, value))
        });
        Self(values.collect())
    }

    /// Makes them what they were.
    pub fn restore(&self) {
        // The floor first: it may keep the target from coming back.
        for (file, value) in self.0.iter().rev() {
            let _ = fs::write(file, value);
        }
    }
}

impl Hand<'_> {
    pub(super) fn system(&mut self) -> sys::Result<()> {
        match self.chance.below(3) {
            0 => self.mount(),
            _ => self.set(),
        }
    }

    /// Writes to a file whose number holds for the whole system, until the program's end.
    fn set(&mut self) -> sys::Result<()> {
        let settings = &self.world.common.settings.0;
        if settings.is_empty() {
            return Ok(());
        }
        let (file, value) = &settings[self.chance.below(settings.len())];
        let number: usize = value.parse().unwrap_or(0);
        let good = file.ends_with("target_kb") || file.ends_with("floor_kb");
        let text = match self.chance.below(6) {
            0 | 1 => self.chance.of(&JUNK).to_owned(),
            // What the domain lives on: near where it is.
            _ if good => (number - self.chance.below(SWING.min(number))).to_string(),
            2 => self.chance.number().to_string(),
            3 => format!("{}\n", self.chance.below(4)),
            4 => (number + self.chance.below(9))
                .saturating_sub(4)
                .to_string(),
            _ => value.clone(),
        };
        self.call(format_args!("write {file} {text:?}"));
        self.world.common.unsettle();
        let file = sys::open(file, libc::O_WRONLY)?;
        sys::write(&file, text.as_bytes()).map(drop)
    }

    /// Mounts xenfs and unmounts it, or has that done by the thread's end.
    fn mount(&mut self) -> sys::Result<()> {
        let world = self.world;
        let slot = self.slot(&world.other);
        let name = self.chance.of(&[
            "privcmd",
            "privcmd",
            "capabilities",
            "xsd_kva",
            "xsd_port",
            "xensyms",
            "",
        ]);
        let unmount = self.chance.below(3);
        self.call(format_args!(
            "mount xenfs, open {slot} {name:?}, unmount {unmount}"
        ));
        if !self.has_own_mounts {
            sys::unshare_mounts()?;
            self.has_own_mounts = true;
        }
        sys::mount("none", MOUNT_POINT, "xenfs")?;
        if let Ok(file) = sys::open(&format!("{MOUNT_POINT}/{name}"), libc::O_RDONLY) {
            slot.replace(file.into_raw_fd());
        }
        match unmount {
            0 => Ok(()),
            1 => sys::unmount(MOUNT_POINT),
            _ => sys::detach(MOUNT_POINT),
        }
    }
}
