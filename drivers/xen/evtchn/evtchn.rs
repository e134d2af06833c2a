// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`: event channels for processes.
//!
//! An open file has ports, and a list of those that have an event. Reading takes ports from the
//! list; a port is masked from its event on until it is written back.
//!
//! - `file`: the file operations, and the state of an open file;
//! - `ioctl`: what the ioctls are called and what they carry;
//! - `ports`: which file has which port of the domain; binding and unbinding;
//! - `table`: the ports of one file;
//! - `slot`, `ring`: the two algorithms that work without locks, which know nothing of the kernel.

#![deny(unsafe_code)]

use kernel::prelude::*;
use xen::{
    atomics,
    domain,
    ext::{
        file::FileTable,
        global::Installed,
        misc::MiscDevice, //
    }, //
};

mod file;
mod ioctl;
mod ports;
// Public for the tests, which are crates of their own.
#[allow(unreachable_pub)]
mod ring;
#[allow(unreachable_pub)]
mod slot;
mod table;

module! {
    type: Module,
    name: "xen_evtchn",
    authors: ["The authors of the Xen drivers in Rust"],
    description: "Xen /dev/xen/evtchn: event channels for processes",
    license: "GPL",
}

static OPERATIONS: FileTable = FileTable::new::<file::EventFile>();

/// The loaded module. Fields are dropped in order: first the node goes, then what files use.
struct Module {
    _device: Pin<KBox<MiscDevice>>,
    _ports: Installed<ports::Ports>,
}

impl kernel::Module for Module {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        domain::require_xen()?;
        let ports = ports::PORTS.install(ports::Ports::new()?)?;
        Ok(Self {
            _device: KBox::pin_init(MiscDevice::register(c"xen/evtchn", &OPERATIONS), GFP_KERNEL)?,
            _ports: ports,
        })
    }
}
