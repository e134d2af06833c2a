// SPDX-License-Identifier: GPL-2.0

//! What is measured.

mod balloon;
mod evtchn;
pub mod gntdev;
mod privcmd;
mod xenfs;

use std::os::fd::AsRawFd;

use xen_guest::sys::{self, Errno, Result};

use crate::measure::Report;
use crate::partner::Partner;

/// Measures every operation.
pub fn measure(report: &mut Report, partner: &mut Partner) {
    privcmd::measure(report, partner);
    evtchn::measure(report, partner);
    gntdev::measure(report, partner);
    xenfs::measure(report);
    balloon::measure(report);
}

/// Opening and closing a device.
fn open_close<T>(report: &mut Report, name: &str, open: impl Fn() -> Result<T>) {
    report.measure(&format!("{name}_open_close"), 1, |laps| {
        let file = laps.time("open", &open)?;
        laps.time("close", || drop(file));
        Ok(())
    });
}

/// The least that a call of the device can cost: a request that it does not know.
fn rejected(report: &mut Report, name: &str, file: &impl AsRawFd) {
    const UNKNOWN: u32 = 0x58ff;
    report.simple(&format!("{name}_rejected_ioctl"), 1, || {
        // SAFETY: The argument points to nothing.
        match unsafe { sys::ioctl(file, UNKNOWN, 0) } {
            // The C evtchn says ENOSYS.
            Err(Errno(libc::ENOTTY | libc::ENOSYS)) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(Errno(libc::EIO)),
        }
    });
}
