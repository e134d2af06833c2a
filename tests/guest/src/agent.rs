// SPDX-License-Identifier: GPL-2.0

//! Inside a guest: runs a command, or is the other side of tests.

use std::process::{Command, ExitCode};

use crate::boot::{self, Words};
use crate::sys;

/// The first process of a guest.
pub fn run_guest(words: &Words) {
    let kind = boot::kind().map_or_else(|| "no Xen".into(), |k| format!("{k:?}"));
    println!("This is a {kind} guest, Linux {}", sys::kernel_release());
    match words.get("cmd") {
        Some(command) => {
            let command = command.replace(',', " ");
            println!("# {command}");
            match Command::new("sh").args(["-c", &command]).status() {
                Ok(status) => println!("{status}"),
                Err(error) => println!("sh: {error}"),
            }
        }
        None => {
            run();
        }
    }
}

/// Serves requests.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
