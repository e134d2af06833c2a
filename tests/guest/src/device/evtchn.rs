// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/evtchn`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::device_file;
use crate::abi::{evtchn as abi, DomId, DOMID_SELF};
use crate::sys::{self, Errno, Result};

/// An event channel's local end.
pub type Port = u32;

/// An open `/dev/xen/evtchn`.
#[derive(Debug)]
pub struct Evtchn {
    fd: OwnedFd,
}

device_file!(Evtchn, "/dev/xen/evtchn");

impl Evtchn {
    /// Opens the device so that reading never blocks.
    pub fn open_nonblocking() -> Result<Self> {
        Self::open_path(Self::PATH, libc::O_NONBLOCK)
    }

    /// Binds a virtual interrupt.
    pub fn bind_virq(&self, virq: u32) -> Result<Port> {
        self.port_of(abi::BIND_VIRQ, virq)
    }

    /// Binds to another domain's unbound port.
    pub fn bind_interdomain(&self, remote_domain: u32, remote_port: Port) -> Result<Port> {
        let mut bind = abi::BindInterdomain {
            remote_domain,
            remote_port,
        };
        sys::ioctl_struct(self, abi::BIND_INTERDOMAIN, &mut bind).map(|port| port as Port)
    }

    /// Makes a port for another domain to bind to.
    pub fn bind_unbound(&self, remote_domain: u32) -> Result<Port> {
        self.port_of(abi::BIND_UNBOUND_PORT, remote_domain)
    }

    /// Takes a port that exists.
    pub fn bind_static(&self, port: Port) -> Result<()> {
        self.port_of(abi::BIND_STATIC, port).map(drop)
    }

    /// Gives a port back.
    pub fn unbind(&self, port: Port) -> Result<()> {
        self.port_of(abi::UNBIND, port).map(drop)
    }

    /// Sends an event.
    pub fn notify(&self, port: Port) -> Result<()> {
        self.port_of(abi::NOTIFY, port).map(drop)
    }

    /// Empties the ring.
    pub fn reset(&self) -> Result<()> {
        // SAFETY: The request has no argument.
        unsafe { sys::ioctl(self, abi::RESET, 0) }.map(drop)
    }

    /// Narrows the file to one domain.
    pub fn restrict(&self, domid: DomId) -> Result<()> {
        let mut domid = domid;
        sys::ioctl_struct(self, abi::RESTRICT_DOMID, &mut domid).map(drop)
    }

    /// Reads the pending ports, at most as many as asked.
    pub fn read(&self, most: usize) -> Result<Vec<Port>> {
        let mut buffer = vec![0; most * 4];
        let n = sys::read(self, &mut buffer)?;
        Ok(ports(&buffer[..n]))
    }

    /// Unmasks ports.
    pub fn unmask(&self, ports: &[Port]) -> Result<usize> {
        sys::write(self, &bytes(ports))
    }

    /// Whether a port becomes pending within the time.
    pub fn wait(&self, time: Duration) -> Result<bool> {
        Ok(sys::poll(self, libc::POLLIN, time)? & libc::POLLIN != 0)
    }

    /// Waits for the next pending port, takes it and unmasks it.
    pub fn next(&self, time: Duration) -> Result<Port> {
        if !self.wait(time)? {
            return Err(Errno(libc::ETIMEDOUT));
        }
        let port = self.read(1)?.first().copied().ok_or(Errno(libc::EIO))?;
        self.unmask(&[port])?;
        Ok(port)
    }

    /// Takes and unmasks all that is pending, or on its way.
    pub fn drain(&self) -> Result<()> {
        while self.wait(Duration::from_millis(50))? {
            let ports = self.read(1024)?;
            self.unmask(&ports)?;
        }
        Ok(())
    }

    /// Takes and unmasks all that is pending now.
    pub fn drain_now(&self) -> Result<()> {
        while self.wait(Duration::ZERO)? {
            let ports = self.read(1024)?;
            self.unmask(&ports)?;
        }
        Ok(())
    }

    /// Makes a channel whose both ends are on this file, with nothing pending: (one end, the other).
    ///
    /// Events sent through one end arrive at the other.
    pub fn loopback(&self) -> Result<(Port, Port)> {
        let near = self.bind_unbound(DOMID_SELF.into())?;
        let far = self.bind_interdomain(DOMID_SELF.into(), near)?;
        // Binding marks the new end pending, lest an event sent before be lost.
        let first = |port: &Port| *port == far;
        while self.wait(Duration::from_secs(1))? && !first(&self.next(Duration::ZERO)?) {}
        Ok((near, far))
    }

    fn port_of(&self, request: u32, argument: u32) -> Result<Port> {
        let mut argument = argument;
        sys::ioctl_struct(self, request, &mut argument).map(|port| port as Port)
    }
}

/// Ports as a read gives them.
pub fn ports(bytes: &[u8]) -> Vec<Port> {
    bytes
        .chunks_exact(4)
        .map(|c| Port::from_ne_bytes([c[0], c[1], c[2], c[3]]))
        .collect()
}

/// Ports as a write takes them.
pub fn bytes(ports: &[Port]) -> Vec<u8> {
    ports.iter().flat_map(|p| p.to_ne_bytes()).collect()
}
