// SPDX-License-Identifier: GPL-2.0

//! The hypercalls alone, measured inside the kernel by the module `xen-floor`: what no driver can save.

use std::fs;

use xen_guest::drivers;
use xen_guest::sys;

use crate::measure::Report;
use crate::partner::Partner;

const RESULTS: &str = "/sys/kernel/debug/xen_floor";

/// Where the module lets the target of the kernel's own balloon be set, and tells how much memory there is, in KiB.
pub const BALLOON: &str = "/sys/kernel/debug/xen_floor_balloon";

/// Loads the module.
fn load(partner: &Partner) -> sys::Result<()> {
    let first = partner.references.first().copied().unwrap_or(0);
    let frame = partner.frames.first().copied().unwrap_or(0);
    let parameters = format!(
        "domid={} reference={first} frame={frame}",
        partner.domain.id()
    );
    sys::load_module(&drivers::in_updates("xen-floor"), &parameters)
}

/// Loads the module, which measures when its file is read.
pub fn measure(report: &mut Report, partner: &mut Partner) {
    if let Err(error) = load(partner) {
        return report.unsupported("floor", error);
    }
    if !report.wants("floor") {
        return;
    }
    report.settle();
    // Each line is a name, how many items, and virtual nanoseconds for each item in tenths.
    for line in fs::read_to_string(RESULTS).unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, items, tenths] = words[..] else {
            continue;
        };
        let Ok(tenths) = tenths.parse::<f64>() else {
            continue;
        };
        report.line(format_args!(
            r#"{{"floor":"{name}","items":{items},"ns":{:.1},"instructions":{:.1}}}"#,
            tenths / 10.0,
            tenths / 20.0,
        ));
    }
}
