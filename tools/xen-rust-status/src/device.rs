// SPDX-License-Identifier: GPL-2.0

//! The devices, and which driver serves each.

use serde::Serialize;

use crate::module::{Driver, Module};
use crate::system::System;

/// Where each device is, and the module that is to serve it.
const DEVICES: &[(&str, &str)] = &[
    ("/dev/xen/privcmd", "xen-privcmd"),
    ("/dev/xen/hypercall", "xen-privcmd"),
    ("/dev/xen/evtchn", "xen-evtchn"),
    ("/dev/xen/gntdev", "xen-gntdev"),
    ("/proc/xen/capabilities", "xenfs"),
    (BALLOON, "xen-balloon"),
];

/// The balloon's folder in sysfs.
pub const BALLOON: &str = "/sys/devices/system/xen_memory/xen_memory0";

/// A device.
#[derive(Debug, Serialize)]
pub struct Device {
    pub path: &'static str,
    pub module: &'static str,
    pub driver: Driver,
}

impl Device {
    /// All of them. The `modules` are those of the same system.
    pub fn all(system: &System, modules: &[Module]) -> Vec<Self> {
        DEVICES
            .iter()
            .map(|(path, module)| {
                let loaded = modules
                    .iter()
                    .find(|known| known.name == *module)
                    .map_or(Driver::None, |known| known.loaded);
                let driver = match (system.exists(path), loaded) {
                    (false, _) => Driver::None,
                    // Somebody made the device: if no module, the kernel itself.
                    (true, Driver::None) => Driver::BuiltIn,
                    (true, driver) => driver,
                };
                Self {
                    path,
                    module,
                    driver,
                }
            })
            .collect()
    }
}
