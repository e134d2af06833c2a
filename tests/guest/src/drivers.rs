// SPDX-License-Identifier: GPL-2.0

//! The kernel modules: loading them, and telling whose they are.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::boot::Drivers;
use crate::sys;

/// A driver.
#[derive(Debug)]
pub struct Module {
    /// The name to load it by.
    pub name: &'static str,
    /// What user space sees of it.
    pub serves: &'static [&'static str],
    /// Whether the kernel has one of its own, as a module.
    pub in_c: bool,
    /// What is there without the module where the kernel has the driver built in.
    built_in: Option<&'static str>,
}

/// The drivers, in the order to load them.
pub const MODULES: [Module; 5] = [
    Module {
        name: "xen-evtchn",
        serves: &["/dev/xen/evtchn"],
        in_c: true,
        built_in: None,
    },
    Module {
        name: "xen-privcmd",
        serves: &["/dev/xen/privcmd", "/dev/xen/hypercall"],
        in_c: true,
        built_in: None,
    },
    Module {
        name: "xen-gntdev",
        serves: &["/dev/xen/gntdev"],
        in_c: true,
        built_in: None,
    },
    Module {
        name: "xenfs",
        serves: &["/proc/xen"],
        in_c: true,
        built_in: None,
    },
    Module {
        name: "xen-balloon",
        serves: &["/sys/devices/system/xen_memory/xen_memory0"],
        in_c: false,
        built_in: Some("/sys/devices/system/xen_memory"),
    },
];

/// The module that makes grants to try; always the kernel's own.
pub const GNTALLOC: &str = "xen-gntalloc";

/// Where the kernel's own modules are, for comparison.
const REFERENCE: &str = "/lib/reference";

impl Module {
    /// Its name as the kernel writes it.
    pub fn kernel_name(&self) -> String {
        kernel_name(self.name)
    }

    /// Whether it is loaded.
    pub fn is_loaded(&self) -> bool {
        Path::new(&format!("/sys/module/{}/refcnt", self.kernel_name())).exists()
    }

    /// Whether the kernel has it built in, so that there is nothing for a module to do.
    pub fn is_built_in(&self) -> bool {
        !self.is_loaded() && self.built_in.is_some_and(|path| Path::new(path).exists())
    }

    /// Whether the loaded module was built outside the kernel, as these drivers are and the C ones are not.
    pub fn is_ours(&self) -> bool {
        fs::read_to_string(format!("/sys/module/{}/taint", self.kernel_name()))
            .is_ok_and(|t| t.contains('O'))
    }

    /// The file it is loaded from.
    pub fn file(&self, drivers: Drivers) -> String {
        match drivers {
            Drivers::Rust => in_updates(self.name),
            Drivers::C => format!("{REFERENCE}/{}.ko", self.name),
        }
    }

    /// Loads it and makes sure that it is the right one.
    pub fn load(&self, drivers: Drivers) -> Result<(), String> {
        match drivers {
            Drivers::Rust => modprobe(&[self.name])?,
            Drivers::C => sys::load_module(&self.file(drivers), "")
                .map_err(|e| format!("{}: {e}", self.name))?,
        }
        match (
            self.is_loaded(),
            self.is_ours() == (drivers == Drivers::Rust),
        ) {
            (false, _) => Err(format!("{} is not loaded", self.name)),
            (true, false) => Err(format!("{} is not the one asked for", self.name)),
            (true, true) => Ok(()),
        }
    }
}

/// A module's name as the kernel writes it.
pub fn kernel_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The file of a module that is not the kernel's own.
pub fn in_updates(name: &str) -> String {
    format!("/lib/modules/{}/updates/{name}.ko", sys::kernel_release())
}

/// Runs modprobe.
pub fn modprobe(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("modprobe")
        .args(arguments)
        .output()
        .map_err(|e| format!("modprobe: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "modprobe {}: {}",
        arguments.join(" "),
        message.trim()
    ))
}

/// Loads the module that makes grants, if the image has it.
pub fn load_gntalloc() -> Result<(), String> {
    sys::load_module(&format!("{REFERENCE}/{GNTALLOC}.ko"), "limit=65536")
        .map_err(|e| format!("{GNTALLOC}: {e}"))
}

/// The modules of a driver set, but for what the running kernel has built in.
pub fn of(drivers: Drivers) -> impl Iterator<Item = &'static Module> {
    MODULES
        .iter()
        .filter(move |m| drivers == Drivers::Rust || m.in_c)
        .filter(|m| !m.is_built_in())
}

/// How many calls a driver has counted in debugfs, if it counts.
pub fn calls(module: &Module) -> Option<u64> {
    let text =
        fs::read_to_string(format!("/sys/kernel/debug/{}/calls", module.kernel_name())).ok()?;
    Some(
        text.lines()
            .filter_map(|l| l.split_whitespace().last()?.parse::<u64>().ok())
            .sum(),
    )
}

/// The driver that talks to xenstored when it comes and goes.
pub const BALLOON: &str = "xen-balloon";

/// Whose drivers are loaded.
pub fn loaded() -> Drivers {
    if MODULES.iter().any(Module::is_ours) {
        Drivers::Rust
    } else {
        Drivers::C
    }
}

/// Unloads what is loaded, those that others use last. What still ends has a moment for that.
pub fn unload_all() -> Result<(), String> {
    let _ = sys::unmount("/proc/xen");
    for module in MODULES.iter().rev().filter(|m| m.is_loaded()) {
        let mut result = Ok(());
        sys::eventually(Duration::from_secs(20), || {
            result = sys::unload_module(&module.kernel_name());
            result.is_ok()
        });
        result.map_err(|error| format!("unloading {}: {error}", module.name))?;
    }
    Ok(())
}

/// Loads the drivers, but for the one that asks xenstored for its target, and waits for the answer.
pub fn load_all(drivers: Drivers) -> Result<(), String> {
    of(drivers)
        .filter(|m| m.name != BALLOON)
        .try_for_each(|m| m.load(drivers))
}
