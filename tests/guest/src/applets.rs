// SPDX-License-Identifier: GPL-2.0

//! Which part of the program a name stands for.

use std::process::ExitCode;

use crate::{agent, exchange, init, ktap, suite};

/// Runs the applet that the arguments name: by the program's own name, or else by the first argument.
pub fn run(arguments: Vec<String>) -> ExitCode {
    let own = arguments
        .first()
        .and_then(|a| a.rsplit('/').next())
        .unwrap_or("");
    let (name, rest) = match find(own) {
        Some(applet) => (Some(applet), arguments.get(1..)),
        None => (arguments.get(1).and_then(|a| find(a)), arguments.get(2..)),
    };
    let rest = rest.unwrap_or(&[]);
    match name {
        Some(Applet::Init) => init::run(),
        Some(Applet::Agent) => agent::run(""),
        Some(Applet::Exchange) => exchange::run(rest),
        Some(Applet::Suite(suite)) => ktap::run(suite, rest.first().map(String::as_str)),
        None => {
            eprintln!("usage: xen-guest init | agent | SUITE [FILTER]");
            eprintln!("suites: {}", suite::ALL.map(|s| s.name).join(" "));
            ExitCode::from(2)
        }
    }
}

enum Applet {
    Init,
    Agent,
    Exchange,
    Suite(&'static ktap::Suite),
}

fn find(name: &str) -> Option<Applet> {
    match name {
        "init" => Some(Applet::Init),
        "agent" => Some(Applet::Agent),
        exchange::NAME => Some(Applet::Exchange),
        _ => suite::named(name).map(Applet::Suite),
    }
}
