// SPDX-License-Identifier: GPL-2.0

//! `mode=run`: what an administrator does with an installed dom0, each step shown.

use std::process::{Command, Stdio};

use crate::boot::{Drivers, Words};
use crate::domu::{self, Guest};
use crate::ktap::Counts;
use crate::xen::Kind;
use crate::{daemons, drivers, sys};

fn say(step: &str) {
    crate::ktap::line(format_args!("\n+ {step}"));
}

/// Loads the drivers, mounts and starts the daemons, each step shown.
pub fn set_up(drivers: Drivers) -> Result<(), String> {
    for module in drivers::of(drivers) {
        match drivers {
            Drivers::Rust => say(&format!("modprobe {}", module.name)),
            Drivers::C => say(&format!("insmod {}", module.file(drivers))),
        }
        module.load(drivers)?;
    }
    say("mount -t xenfs none /proc/xen");
    sys::mount("none", "/proc/xen", "xenfs").map_err(|e| format!("mount: {e}"))?;
    daemons::start(say)
}

/// Runs a command with the console as its output.
fn show(command: &[&str]) -> Result<(), String> {
    say(&command.join(" "));
    let (program, arguments) = command.split_first().ok_or("no command")?;
    // A reader that never gets anything: a console client takes the end of its input as the wish to leave.
    let (input, _output) = sys::pipe().map_err(|e| e.to_string())?;
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::from(input))
        .status()
        .map_err(|e| format!("{program}: {e}"))?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{program}: {status}"))
}

fn guest(kind: Kind) -> Result<(), String> {
    let guest = Guest::new(kind)
        .command("echo,hello,from,the,guest;,cat,/sys/hypervisor/guest_type;,uptime");
    let configuration = guest.write_configuration().map_err(|e| e.to_string())?;
    show(&["cat", &configuration])?;
    show(&["xl", "create", "-c", &configuration])?;
    if !domu::gone(guest.name()) {
        return Err(format!("guest {} is still there", guest.name()));
    }
    Ok(())
}

/// The steps, counted.
pub fn run(words: &Words) -> Counts {
    let drivers = words.drivers();
    let mut counts = Counts::default();
    let mut note = |step: &str, result: Result<(), String>| match result {
        Ok(()) => counts.passed += 1,
        Err(error) => {
            counts.failed += 1;
            crate::ktap::line(format_args!("FAILED {step}: {error}"));
        }
    };
    let ready = set_up(drivers);
    let stop = ready.is_err();
    note("set-up", ready);
    if stop {
        return counts;
    }
    note("whose modules", only(drivers));
    note("xl info", show(&["xl", "info"]));
    note("xl list", show(&["xl", "list"]));
    note("a PV guest", guest(Kind::Pv));
    note("a PVH guest", guest(Kind::Pvh));
    note("xl list", show(&["xl", "list"]));
    table(drivers);
    counts
}

/// Every module that is loaded is one of the set asked for.
fn only(drivers: Drivers) -> Result<(), String> {
    say("cat /sys/module/*/taint");
    for module in drivers::MODULES.iter().filter(|m| m.is_loaded()) {
        let ours = module.is_ours();
        crate::ktap::line(format_args!(
            "{}: {}",
            module.name,
            if ours {
                "built outside the kernel"
            } else {
                "the kernel's own"
            }
        ));
        if ours != (drivers == Drivers::Rust) {
            return Err(format!("{} is not of the drivers asked for", module.name));
        }
    }
    Ok(())
}

/// What was loaded from where and what it did.
fn table(drivers: Drivers) {
    say("modules");
    crate::ktap::line(format_args!(
        "{:12} {:>6}  {:52} serves",
        "module", "calls", "loaded from"
    ));
    for module in drivers::of(drivers) {
        let calls = drivers::calls(module).map_or_else(|| "-".into(), |n| n.to_string());
        let file = if module.is_loaded() {
            module.file(drivers)
        } else {
            "(not loaded)".into()
        };
        crate::ktap::line(format_args!(
            "{:12} {calls:>6}  {file:52} {}",
            module.name,
            module.serves.join(" ")
        ));
    }
}
