// SPDX-License-Identifier: GPL-2.0

//! Loading the modules, and their size.

use std::fs;
use std::path::Path;

use xen_guest::boot::Drivers;
use xen_guest::{drivers, sys};

use crate::measure::Report;

/// Loads the drivers asked for. Where the image lacks one of ours, the kernel's own takes its place, which the report
/// says: the drivers mix, and most operations need one only.
pub fn load(wanted: Drivers, report: &mut Report) -> Result<(), String> {
    for module in &drivers::MODULES {
        let ours = module.file(Drivers::Rust);
        let from = if wanted == Drivers::Rust && Path::new(&ours).exists() {
            Drivers::Rust
        } else if module.in_c {
            Drivers::C
        } else {
            continue;
        };
        let file = module.file(from);
        sys::load_module(&file, "").map_err(|error| format!("{file}: {error}"))?;
        let name = module.kernel_name();
        report.line(format_args!(
            r#"{{"module":"{name}","ours":{},"bytes":{},"file_bytes":{}}}"#,
            module.is_ours(),
            loaded_size(&name),
            fs::metadata(&file).map_or(0, |meta| meta.len()),
        ));
    }
    sys::mount("none", "/proc/xen", "xenfs").map_err(|error| format!("mounting xenfs: {error}"))
}

/// The memory a loaded module takes, as `/proc/modules` has it.
fn loaded_size(name: &str) -> u64 {
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let mut lines = modules.lines().map(|line| line.split_whitespace());
    lines
        .find_map(|mut words| (words.next() == Some(name)).then(|| words.next()?.parse().ok())?)
        .unwrap_or(0)
}
