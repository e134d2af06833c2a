// SPDX-License-Identifier: GPL-2.0

//! The report for people.

use std::fmt::Write;

use crate::device::Device;
use crate::module::{Driver, Module};
use crate::open_file::OpenFile;
use crate::report::Report;

/// Of the lines a file holds, how many of one kind are shown; the JSON has all.
const SHOWN: usize = 4;

/// The whole report.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    write(report, &mut out).expect("writing to a string does not fail");
    out
}

fn write(report: &Report, out: &mut String) -> std::fmt::Result {
    match &report.xen {
        None => writeln!(out, "Linux {}, not on Xen", report.kernel)?,
        Some(xen) => {
            let kind = xen.guest_type.as_deref().unwrap_or("domain");
            let control = match xen.control_domain {
                Some(true) => ", control domain",
                Some(false) => ", not the control domain",
                None => "",
            };
            writeln!(
                out,
                "Linux {} on Xen {}, {kind}{control}",
                report.kernel, xen.version
            )?;
        }
    }

    writeln!(out, "\nDevices")?;
    for device in &report.devices {
        let module = report.modules.iter().find(|it| it.name == device.module);
        writeln!(out, "  {:44} {}", device.path, served(device, module))?;
    }

    writeln!(out, "\nParameters")?;
    for module in &report.modules {
        for (name, value) in &module.parameters {
            writeln!(out, "  {:44} {value}", format!("{}.{name}", module.name))?;
        }
    }

    writeln!(out, "\nOpen files")?;
    for file in &report.open_files {
        open_file(file, out)?;
    }
    if report.open_files.is_empty() {
        writeln!(out, "  none that can be seen")?;
    }

    for warning in &report.warnings {
        writeln!(out, "\nWarning: {warning}")?;
    }
    Ok(())
}

fn served(device: &Device, module: Option<&Module>) -> String {
    let version = module.and_then(|module| module.version.as_deref());
    match device.driver {
        Driver::Rust => format!("Rust {} {}", device.module, version.unwrap_or_default()),
        Driver::C => format!("C {}", device.module),
        Driver::BuiltIn => "C, built into the kernel".to_owned(),
        Driver::None => "not there".to_owned(),
    }
}

fn open_file(file: &OpenFile, out: &mut String) -> std::fmt::Result {
    let restricted = match file.restricted_to {
        Some(domain) => format!(", restricted to domain {domain}"),
        None => String::new(),
    };
    writeln!(
        out,
        "  {} ({}), descriptor {}: {}{restricted}",
        file.command, file.process, file.descriptor, file.path
    )?;
    let mut lines = file
        .holds
        .iter()
        .filter(|held| held.value != "0" && !held.what.contains("restricted"))
        .peekable();
    while let Some(first) = lines.next() {
        let mut same = 1;
        writeln!(out, "    {}: {}", first.what, first.value)?;
        while let Some(next) = lines.next_if(|next| next.what == first.what) {
            if same < SHOWN {
                writeln!(out, "    {}: {}", next.what, next.value)?;
            }
            same += 1;
        }
        if same > SHOWN {
            writeln!(out, "    {}: {} more", first.what, same - SHOWN)?;
        }
    }
    Ok(())
}
