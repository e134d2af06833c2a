// SPDX-License-Identifier: GPL-2.0

//! Builds, boots and tests the Xen drivers. The Makefile's targets call this; `make help` lists
//! them.

mod archive;
mod audit;
mod bench;
mod check;
mod cli;
mod clients;
mod console;
mod cpio;
mod deb;
mod demo;
mod dependencies;
mod disk;
mod elf;
mod error;
mod forgotten;
mod fuzz;
mod guest;
mod image;
mod installation;
mod kernel;
mod krate;
mod ktap;
mod lane;
mod lock;
mod machine;
mod metadata;
mod modules;
mod packaged;
mod place;
mod program;
mod project;
mod qemu;
mod root;
mod sandbox;
mod stamp;
mod step;
mod suite;
mod tool;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Command;
use crate::sandbox::Role;

fn main() -> ExitCode {
    let command = cli::parse();
    let status = start(command).unwrap_or_else(|error| {
        let (line, status) = error::report(&error);
        eprintln!("error: {line}");
        status
    });
    ExitCode::from(status)
}

/// Runs a command in a worker of its own where it needs one; gives the exit status.
fn start(command: Command) -> Result<u8> {
    if let Role::Supervisor(status) = sandbox::enter(project::native())? {
        return Ok(status);
    }
    command.run()
}
