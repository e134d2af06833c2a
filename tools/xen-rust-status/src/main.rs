// SPDX-License-Identifier: GPL-2.0

//! Tells which driver serves each Xen device: ours, the kernel's own in C, or none.
//!
//! Everything is read from `/proc`, `/sys`, `/dev` and the installed modules; nothing is opened that
//! would load a module or take a device.

mod device;
mod human;
mod hypervisor;
mod module;
mod open_file;
mod report;
mod system;
mod warning;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::report::Report;
use crate::system::System;

/// Tells which driver serves each Xen device of this dom0.
///
/// Exit status: 0 if our drivers serve all of them and there is nothing to warn of, 1 if not, 2 if it
/// cannot be told.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Write JSON
    #[arg(long)]
    json: bool,

    /// Look at the system below this folder
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("xen-rust-status: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Writes the report; says whether all is well.
fn run(arguments: &Arguments) -> Result<bool> {
    let report = Report::of(&System::at(&arguments.root))?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        human::text(&report)
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing the report")?;
    Ok(report.is_well())
}
