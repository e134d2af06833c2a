// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`: `include/uapi/xen/evtchn.h`.

use super::{ioc, iow, plain_structs};

plain_structs! {
    /// Argument of [`BIND_INTERDOMAIN`].
    struct BindInterdomain = 8 {
        /// The domain at the other end.
        remote_domain: u32,
        /// Its port, not yet bound.
        remote_port: u32,
    }
    /// Argument of [`PORT_STATUS`]: `struct xen_evtchn_port_status`.
    struct PortStatus = 40 {
        /// The port asked about.
        port: u32,
        /// What it is bound to.
        state: u32,
        /// The domain at the other end.
        remote_domain: u32,
        /// Its port.
        remote_port: u32,
        /// The interrupt it is bound to.
        interrupt: u32,
        /// The vCPU that takes its events.
        vcpu: u32,
        /// [`PENDING`], [`MASKED`].
        flags: u32,
        /// Nothing.
        pad: u32,
        /// Events delivered.
        events: u64,
    }
    /// Argument of [`PORT_SET_VCPU`]: `struct xen_evtchn_port_vcpu`.
    struct PortVcpu = 8 {
        /// The port.
        port: u32,
        /// The vCPU to take its events.
        vcpu: u32,
    }
}

/// Binds a virtual interrupt; the result is the port.
pub const BIND_VIRQ: u32 = ioc(b'E', 0, 4);
/// Binds to another domain's unbound port; the result is the local port.
pub const BIND_INTERDOMAIN: u32 = ioc(b'E', 1, size_of::<BindInterdomain>());
/// Makes a port that another domain may bind to; the result is the port.
pub const BIND_UNBOUND_PORT: u32 = ioc(b'E', 2, 4);
/// Gives a port back.
pub const UNBIND: u32 = ioc(b'E', 3, 4);
/// Sends an event through a port.
pub const NOTIFY: u32 = ioc(b'E', 4, 4);
/// Empties the ring and clears an overflow.
pub const RESET: u32 = ioc(b'E', 5, 0);
/// Narrows the file to one remote domain.
pub const RESTRICT_DOMID: u32 = ioc(b'E', 6, 2);
/// Takes a port that exists already.
pub const BIND_STATIC: u32 = ioc(b'E', 7, 4);

/// What a port of the file is bound to. Of this driver alone, as is the next.
pub const PORT_STATUS: u32 = (1 << 31) | iow(b'E', 0x80, size_of::<PortStatus>());
/// Chooses the vCPU that takes a port's events.
pub const PORT_SET_VCPU: u32 = iow(b'E', 0x81, size_of::<PortVcpu>());

/// The channel is gone.
pub const STATE_CLOSED: u32 = 0;
/// State of a port: bound to another domain's.
pub const STATE_INTERDOMAIN: u32 = 2;
/// State of a port: bound to a virtual interrupt.
pub const STATE_VIRQ: u32 = 4;
/// Flag of a port: to be read.
pub const PENDING: u32 = 1;
/// Flag of a port: no events until it is written.
pub const MASKED: u32 = 2;
