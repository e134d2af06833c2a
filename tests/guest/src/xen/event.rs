// SPDX-License-Identifier: GPL-2.0

//! Event channels as Xen sees them.

use super::{Xen, EVENT_CHANNEL_OP};
use crate::abi::{plain_structs, DomId};
use crate::sys::{Errno, Plain, Result};

plain_structs! {
    /// `struct evtchn_status`.
    struct StatusArgument = 24 {
        dom: u16,
        pad: u16,
        port: u32,
        status: u32,
        vcpu: u32,
        remote: u16,
        pad2: u16,
        remote_port: u32,
    }
    /// `struct evtchn_alloc_unbound`.
    struct AllocUnbound = 8 {
        dom: u16,
        remote_dom: u16,
        port: u32,
    }
    /// `struct evtchn_reset`.
    struct Reset = 2 {
        dom: u16,
    }
}

const CLOSE: u64 = 3;
const SEND: u64 = 4;
const STATUS: u64 = 5;
const ALLOC_UNBOUND: u64 = 6;
const RESET: u64 = 10;

/// How Xen describes a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No one uses it.
    Closed,
    /// It waits for this domain.
    Unbound(DomId),
    /// It is connected to a port of this domain.
    Interdomain(DomId, u32),
    /// It is a physical interrupt, a virtual one or one between vCPUs.
    Interrupt,
}

impl Xen {
    /// What Xen says about a port of a domain; EINVAL past the last.
    pub fn port_status(&self, dom: DomId, port: u32) -> Result<Status> {
        let mut argument = StatusArgument {
            dom,
            port,
            ..Plain::zeroed()
        };
        self.call(EVENT_CHANNEL_OP, Some(STATUS), &mut argument)?;
        Ok(match argument.status {
            0 => Status::Closed,
            1 => Status::Unbound(argument.remote),
            2 => Status::Interdomain(argument.remote, argument.remote_port),
            _ => Status::Interrupt,
        })
    }

    /// How many ports of a domain are in use.
    ///
    /// Xen hands out the lowest that is free, so a long gap is the end of them.
    pub fn open_ports(&self, dom: DomId) -> Result<usize> {
        const GAP: u32 = 128;
        let mut open = 0;
        let mut last = 0;
        for port in 0.. {
            match self.port_status(dom, port) {
                Ok(Status::Closed) if port > last + GAP => break,
                Ok(Status::Closed) => {}
                Ok(_) => {
                    open += 1;
                    last = port;
                }
                Err(Errno(libc::EINVAL)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(open)
    }

    /// Makes a port in a domain that another may bind to.
    pub fn alloc_unbound(&self, dom: DomId, remote_dom: DomId) -> Result<u32> {
        let mut argument = AllocUnbound {
            dom,
            remote_dom,
            port: 0,
        };
        self.call(EVENT_CHANNEL_OP, Some(ALLOC_UNBOUND), &mut argument)?;
        Ok(argument.port)
    }

    /// Closes one of this domain's ports behind its drivers' back.
    pub fn close_port(&self, port: u32) -> Result<()> {
        let mut port = port;
        self.call(EVENT_CHANNEL_OP, Some(CLOSE), &mut port)
            .map(drop)
    }

    /// Sends through one of this domain's ports, whichever driver it belongs to.
    pub fn send(&self, port: u32) -> Result<()> {
        let mut port = port;
        self.call(EVENT_CHANNEL_OP, Some(SEND), &mut port).map(drop)
    }

    /// Closes all ports of a domain.
    pub fn reset_ports(&self, dom: DomId) -> Result<()> {
        let mut argument = Reset { dom };
        self.call(EVENT_CHANNEL_OP, Some(RESET), &mut argument)
            .map(drop)
    }
}
