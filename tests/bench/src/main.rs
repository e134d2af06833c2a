// SPDX-License-Identifier: GPL-2.0

//! What each operation of `/dev/xen/*` and `/proc/xen` costs, in instructions.
//!
//! Run as the first process of a dom0 on an emulator whose clock counts executed instructions, it loads
//! the drivers, makes each operation many times, prints a line of JSON for each, and powers off. The same program
//! measures these drivers and the kernel's own in C; the kernel command line says which (see [`xen_guest::boot`]).
//!
//! - [`clock`]: the time stamp counter, which counts the instructions,
//! - [`measure`]: making an operation often enough, and its line of output,
//! - [`partner`]: the domain that grants, and whose frames are mapped,
//! - [`operations`]: what is measured, one file for each device,
//! - [`scaling`]: the same with several processors at once,
//! - [`floor`]: what cannot be saved: the hypercalls alone,
//! - [`memory`]: the kernel memory that open files, ports, grants and frames take,
//! - [`drivers`]: loading the modules.

mod clock;
mod drivers;
mod floor;
mod measure;
mod memory;
mod operations;
mod partner;
mod scaling;

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use measure::Report;
use xen_guest::boot::{self, Words};
use xen_guest::ktap::Counts;
use xen_guest::sys;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("xen-bench: measures only as the first process of its own dom0");
        return ExitCode::from(2);
    }
    boot::mount_all();
    let Ok(mut console) = File::options().write(true).open("/dev/console") else {
        sys::power_off();
        return ExitCode::FAILURE;
    };
    // A first process that ends panics the kernel: whatever happens, power off.
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut console) = File::options().write(true).open("/dev/console") {
            let _ = writeln!(console, "xen-bench: {info}");
        }
    }));
    let report = match console.try_clone() {
        Ok(out) => {
            let words = Words::read();
            let filter = words.get("filter").map(str::to_owned);
            Report::new(out, filter, words.get("repeat").is_some())
        }
        Err(_) => {
            sys::power_off();
            return ExitCode::FAILURE;
        }
    };
    let result = std::panic::catch_unwind(move || run(report));
    let (lines, failed) = match result {
        Ok(Ok(lines)) => (lines, 0),
        Ok(Err(error)) => {
            let _ = writeln!(console, "xen-bench: {error}");
            (0, 1)
        }
        Err(_) => (0, 1),
    };
    let counts = Counts {
        passed: lines,
        failed,
        skipped: 0,
    };
    let _ = writeln!(console, "XEN-RUST-VERDICT {counts}");
    let error = sys::power_off();
    let _ = writeln!(console, "xen-bench: power off: {error}");
    ExitCode::FAILURE
}

/// Measures everything; gives the number of lines printed.
fn run(mut report: Report) -> Result<usize, String> {
    let words = Words::read();
    drivers::load(words.drivers(), &mut report)?;
    let mut partner =
        partner::Partner::new().map_err(|error| format!("making a domain: {error}"))?;
    // A machine with several processors is for this alone.
    if let Some(processors) = words.get("processors").and_then(|n| n.parse().ok()) {
        scaling::measure(&mut report, &partner, processors);
        return Ok(report.lines());
    }
    floor::measure(&mut report, &mut partner);
    operations::measure(&mut report, &mut partner);
    memory::measure(&mut report, &mut partner);
    Ok(report.lines())
}
