// SPDX-License-Identifier: GPL-2.0

//! The balloon's files in sysfs.

use std::time::{Duration, Instant};

use xen_guest::sys::{self, Errno, Result};

use crate::measure::Report;

const FILES: &str = "/sys/devices/system/xen_memory/xen_memory0";
/// How much memory is moved.
const MOVED_KIB: u64 = 256 << 10;
/// How long that may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(20);

fn number(file: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("{FILES}/{file}"))?;
    text.trim().parse().map_err(|_| Errno(libc::EINVAL))
}

pub fn measure(report: &mut Report) {
    let target = match number("target_kb") {
        Ok(target) => target,
        Err(error) => {
            for name in [
                "balloon_read_target",
                "balloon_set_target",
                "balloon_move_256_mib",
            ] {
                report.unsupported(name, error);
            }
            return;
        }
    };
    let file = match sys::open(&format!("{FILES}/target_kb"), libc::O_RDWR) {
        Ok(file) => file,
        Err(error) => return report.unsupported("balloon_set_target", error),
    };
    report.simple("balloon_read_target", 1, || {
        sys::read_at(&file, &mut [0; 32], 0).map(drop)
    });
    let text = format!("{target}\n");
    report.simple("balloon_set_target", 1, || {
        sys::write(&file, text.as_bytes()).map(drop)
    });
    report.measure("balloon_move_256_mib", MOVED_KIB / 4, |laps| {
        let lower = target - MOVED_KIB;
        laps.time("out", || reach(&file, lower))?;
        laps.time("back", || reach(&file, target))
    });
}

/// Sets the target and waits until it is reached. The wait sleeps, and sleeping takes no instructions but virtual
/// time, so the pauses are short against the work.
fn reach(file: &std::os::fd::OwnedFd, kib: u64) -> Result<()> {
    sys::write(file, format!("{kib}\n").as_bytes())?;
    let deadline = Instant::now() + PATIENCE;
    while number("info/current_kb")? != kib {
        if Instant::now() > deadline {
            return Err(Errno(libc::ETIMEDOUT));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}
