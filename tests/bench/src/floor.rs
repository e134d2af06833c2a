// SPDX-License-Identifier: GPL-2.0

//! The hypercalls alone, measured inside the kernel by the module `xen-floor`: what no driver can save.

use std::fs;

use xen_guest::sys;

use crate::measure::Report;
use crate::partner::Partner;

const RESULTS: &str = "/sys/kernel/debug/xen_floor";

/// Loads the module, which measures when its file is read.
pub fn measure(report: &mut Report, partner: &mut Partner) {
    if !report.wants("floor") {
        return;
    }
    let file = format!(
        "/lib/modules/{}/updates/xen-floor.ko",
        sys::kernel_release()
    );
    let first = partner.references.first().copied().unwrap_or(0);
    let frame = partner.frames.first().copied().unwrap_or(0);
    let parameters = format!(
        "domid={} reference={first} frame={frame}",
        partner.domain.id()
    );
    if let Err(error) = sys::load_module(&file, &parameters) {
        return report.unsupported("floor", error);
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
