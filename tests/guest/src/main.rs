// SPDX-License-Identifier: GPL-2.0

//! The program: picks the applet by its name.

use std::process::ExitCode;

fn main() -> ExitCode {
    xen_guest::applets::run(std::env::args().collect())
}
