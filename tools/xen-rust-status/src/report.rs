// SPDX-License-Identifier: GPL-2.0

//! The report: everything that is told, in the shape of the JSON.

use anyhow::Result;
use serde::Serialize;

use crate::device::{Device, BALLOON};
use crate::hypervisor::Hypervisor;
use crate::module::{is_built_in, Driver, Module, NAMES};
use crate::open_file::OpenFile;
use crate::system::System;
use crate::warning;

/// The state of a dom0's drivers.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of this command's package.
    pub version: &'static str,
    /// The running kernel.
    pub kernel: String,
    /// Nothing where there is no Xen.
    pub xen: Option<Hypervisor>,
    pub devices: Vec<Device>,
    pub modules: Vec<Module>,
    pub open_files: Vec<OpenFile>,
    /// Whether the kernel has the balloon's interface built in, so that xen-balloon is not needed.
    pub balloon_built_in: bool,
    pub warnings: Vec<String>,
}

impl Report {
    pub fn of(system: &System) -> Result<Self> {
        let kernel = system.release()?;
        let modules: Vec<Module> = NAMES
            .iter()
            .map(|name| Module::find(system, &kernel, name))
            .collect();
        let devices = Device::all(system, &modules);
        let balloon_built_in = is_built_in(system, &kernel, "xen-balloon")
            || devices
                .iter()
                .any(|device| device.path == BALLOON && device.driver == Driver::BuiltIn);
        let xen = Hypervisor::find(system);
        let warnings = match &xen {
            Some(_) => warning::all(system, &kernel, &modules, &devices),
            None => vec!["this kernel does not run on Xen".to_owned()],
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            xen,
            devices,
            open_files: OpenFile::all(system),
            balloon_built_in,
            warnings,
            modules,
            kernel,
        })
    }

    /// Whether our drivers serve all that they could, and there is nothing to warn of.
    pub fn is_well(&self) -> bool {
        self.warnings.is_empty()
            && self.devices.iter().all(|device| {
                device.driver == Driver::Rust || (device.path == BALLOON && self.balloon_built_in)
            })
    }
}
