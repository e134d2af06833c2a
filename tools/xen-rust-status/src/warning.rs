// SPDX-License-Identifier: GPL-2.0

//! What an administrator should know of.

use crate::device::{Device, BALLOON};
use crate::module::{Driver, Module};
use crate::system::System;

/// What the package keeps for each kernel that it could not build the modules for.
const STATE: &str = "/var/lib/xen-rust-dkms";

/// Sentences, each with what to do where something can be done.
pub fn all(system: &System, release: &str, modules: &[Module], devices: &[Device]) -> Vec<String> {
    let mut warnings = Vec::new();
    for module in modules {
        warnings.extend(of_module(module));
    }
    warnings.extend(not_built(system, release));
    for device in devices {
        if device.driver == Driver::None && device.path != BALLOON {
            warnings.push(format!(
                "{} is not there: load {}{}",
                device.path,
                device.module,
                if device.module == "xenfs" {
                    " and mount it (mount -t xenfs none /proc/xen)"
                } else {
                    ""
                }
            ));
        }
    }
    // The C driver and ours agree on the name of the file.
    let scrubbing = system.text(&format!("{BALLOON}/scrub_pages"));
    if scrubbing.as_deref() == Some("0") {
        warnings.push(format!(
            "scrubbing is off: other domains may see what was in memory that leaves this one; \
             turn it on (echo 1 > {BALLOON}/scrub_pages)"
        ));
    }
    warnings
}

fn of_module(module: &Module) -> Option<String> {
    let name = module.name;
    let installed = module.installed.as_ref();
    let ours_installed = installed.is_some_and(|installed| installed.driver == Driver::Rust);
    match module.loaded {
        Driver::Rust if module.is_old() => Some(format!(
            "{name} {} is loaded and {} is installed: reboot, or unload it when nobody uses it",
            module.version.as_deref().unwrap_or("?"),
            match installed.and_then(|installed| installed.version.as_deref()) {
                version if version == module.version.as_deref() => "another build of it",
                Some(version) => version,
                None => "another",
            }
        )),
        Driver::C if ours_installed => Some(format!(
            "the C driver of {name} is loaded and ours is installed: reboot, or unload it when \
             nobody uses it"
        )),
        Driver::BuiltIn if name != "xen-balloon" => Some(format!(
            "the kernel has {name} built in: ours cannot take its place"
        )),
        Driver::Rust if parameter_is_on(module, "unrestricted") => Some(format!(
            "{name} was loaded with unrestricted: in a domain that is not the first, opened files \
             are not restricted"
        )),
        _ => None,
    }
}

fn parameter_is_on(module: &Module, name: &str) -> bool {
    module
        .parameters
        .get(name)
        .is_some_and(|value| ["Y", "1"].contains(&value.as_str()))
}

/// Why the package could not build the modules for the running kernel.
fn not_built(system: &System, release: &str) -> Option<String> {
    let reason = system.text(&format!("{STATE}/{release}.reason"))?;
    Some(format!(
        "the modules were not built for Linux {release}: {reason}"
    ))
}
