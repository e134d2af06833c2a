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

use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};
use ports::{
    Ports,
    PORTS, //
};
use xen::{
    atomics,
    counters,
    domain,
    ext::{
        counters::Counters,
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

counters! {
    /// What the device is asked for.
    pub(crate) enum Call, pub(crate) static CALLS {
        /// An open file.
        Open = "open",
        /// A read.
        Read = "read",
        /// A write.
        Write = "write",
        /// A poll.
        Poll = "poll",
        /// `IOCTL_EVTCHN_BIND_VIRQ`.
        BindVirq = "bind_virq",
        /// `IOCTL_EVTCHN_BIND_INTERDOMAIN`.
        BindInterdomain = "bind_interdomain",
        /// `IOCTL_EVTCHN_BIND_UNBOUND_PORT`.
        BindUnboundPort = "bind_unbound_port",
        /// `IOCTL_EVTCHN_BIND_STATIC`.
        BindStatic = "bind_static",
        /// `IOCTL_EVTCHN_UNBIND`.
        Unbind = "unbind",
        /// `IOCTL_EVTCHN_NOTIFY`.
        Notify = "notify",
        /// `IOCTL_EVTCHN_RESET`.
        Reset = "reset",
        /// `IOCTL_EVTCHN_RESTRICT_DOMID`.
        RestrictDomid = "restrict_domid",
        /// `XEN_EVTCHN_PORT_STATUS`.
        PortStatus = "port_status",
        /// `XEN_EVTCHN_PORT_SET_VCPU`.
        PortSetVcpu = "port_set_vcpu",
        /// Any other ioctl.
        Unknown = "unknown",
    }
}

static OPERATIONS: FileTable = FileTable::new::<file::EventFile>();

/// The loaded module. Fields are dropped in order: first goes the device, after which nobody comes
/// any more, and last what files use.
#[pin_data]
struct Module {
    #[pin]
    _device: MiscDevice,
    #[pin]
    _calls: debugfs::File<&'static Counters<Call>>,
    #[pin]
    _totals: debugfs::File<Arc<Ports>>,
    _dir: debugfs::Dir,
    _ports: Installed<Ports>,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            domain::require_xen()?;
            let ports = Ports::new()?;
            Ok(try_pin_init!(Self {
                _ports: PORTS.install(ports.clone())?,
                _dir: debugfs::Dir::new(c"xen_evtchn"),
                _calls <- CALLS.debugfs(_dir),
                _totals <- _dir.read_callback_file(c"totals", ports, &|ports: &Arc<Ports>, f| {
                    ports.show(f)
                }),
                _device <- MiscDevice::register(c"xen/evtchn", &OPERATIONS),
            }))
        })
    }
}
