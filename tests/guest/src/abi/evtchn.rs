// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`: `include/uapi/xen/evtchn.h`.

use super::{ioc, plain_structs};

plain_structs! {
    /// Argument of [`BIND_INTERDOMAIN`].
    struct BindInterdomain = 8 {
        /// The domain at the other end.
        remote_domain: u32,
        /// Its port, not yet bound.
        remote_port: u32,
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
