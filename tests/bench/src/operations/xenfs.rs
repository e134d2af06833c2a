// SPDX-License-Identifier: GPL-2.0

//! `/proc/xen`.

use xen_guest::sys;

use crate::measure::Report;

const CAPABILITIES: &str = "/proc/xen/capabilities";

pub fn measure(report: &mut Report) {
    report.measure("capabilities", 1, |laps| {
        let file = laps.time("open", || sys::open(CAPABILITIES, libc::O_RDONLY))?;
        laps.time("read", || sys::read(&file, &mut [0; 64]))?;
        laps.time("close", || drop(file));
        Ok(())
    });
}
