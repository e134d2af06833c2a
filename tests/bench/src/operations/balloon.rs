// SPDX-License-Identifier: GPL-2.0

//! The balloon.
//!
//! The kernel that is measured is built without the C driver's files in sysfs, as they would be in the place of ours.
//! What moves the memory is there nevertheless, so its target is set the way those files would, from inside the kernel.

use std::time::{Duration, Instant};

use xen_guest::sys::{self, Errno, Result};

use crate::floor;
use crate::measure::Report;

const FILES: &str = "/sys/devices/system/xen_memory/xen_memory0";
/// How much memory is moved: 1 GiB.
const MOVED_KIB: u64 = 1 << 20;
/// How long that may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(200);

fn number(path: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| Errno(libc::EINVAL))
}

/// What sets the target, and what says how much there is.
struct Balloon {
    target: String,
    current: String,
}

impl Balloon {
    /// Our driver's files, or else the kernel's own balloon.
    fn find() -> Self {
        let target = format!("{FILES}/target_kb");
        if std::path::Path::new(&target).exists() {
            Self {
                target,
                current: format!("{FILES}/info/current_kb"),
            }
        } else {
            Self {
                target: floor::BALLOON.into(),
                current: floor::BALLOON.into(),
            }
        }
    }

    /// Takes so much memory out and puts it in again.
    fn moves(&self, report: &mut Report, name: &str, kib: u64) {
        report.measure(name, kib / 4, |laps| {
            let all = number(&self.current)?;
            laps.time("out", || self.reach(all - kib))?;
            laps.time("back", || self.reach(all))
        });
    }

    /// Sets the target and waits until it is reached. The wait sleeps, and sleeping takes no instructions but virtual
    /// time, so the pauses are short against the work.
    fn reach(&self, kib: u64) -> Result<()> {
        let file = sys::open(&self.target, libc::O_WRONLY)?;
        sys::write(&file, format!("{kib}\n").as_bytes())?;
        let deadline = Instant::now() + PATIENCE;
        while number(&self.current)? != kib {
            if Instant::now() > deadline {
                return Err(Errno(libc::ETIMEDOUT));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }
}

pub fn measure(report: &mut Report) {
    match sys::open(&format!("{FILES}/target_kb"), libc::O_RDWR) {
        Ok(file) => {
            report.simple("balloon_read_target", 1, || {
                sys::read_at(&file, &mut [0; 32], 0).map(drop)
            });
            let mut text = [0; 32];
            let length = sys::read_at(&file, &mut text, 0).unwrap_or(0);
            report.simple("balloon_set_target", 1, || {
                sys::write(&file, &text[..length]).map(drop)
            });
        }
        Err(error) => {
            report.unsupported("balloon_read_target", error);
            report.unsupported("balloon_set_target", error);
        }
    }
    let balloon = Balloon::find();
    balloon.moves(report, "balloon_move_1024_mib", MOVED_KIB);
}
