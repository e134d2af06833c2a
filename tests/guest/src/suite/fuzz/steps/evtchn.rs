// SPDX-License-Identifier: GPL-2.0

//! What can be done with `/dev/xen/evtchn`.

use std::ffi::c_void;
use std::os::fd::AsRawFd;

use super::super::world::{request, Hand};
use crate::abi::{evtchn, DomId};
use crate::sys::{self, Errno};

impl Hand<'_> {
    pub(super) fn evtchn(&mut self) -> sys::Result<()> {
        let world = self.world;
        let fd = self.slot(&world.evtchn);
        let (port, domain) = (self.port(), u32::from(self.domain()));
        match self.chance.below(16) {
            0 | 1 => {
                let bind = if self.chance.one_in(12) {
                    self.chance.number() as u32
                } else {
                    domain
                };
                self.memory.write_at(0, &bind);
                let request = request!(evtchn::BIND_UNBOUND_PORT);
                let bound = self.ioctl(fd, request, self.memory.addr())?;
                self.keep_port(bound);
            }
            2 | 3 => {
                let side = self.side();
                let (domain, port) = if side.ports.is_empty() || self.chance.one_in(2) {
                    (self.chance.of(&[0, 0, domain]), port)
                } else {
                    (side.id.into(), self.chance.of(&side.ports))
                };
                let bind = evtchn::BindInterdomain {
                    remote_domain: domain,
                    remote_port: port,
                };
                self.memory.write_at(0, &bind);
                let request = request!(evtchn::BIND_INTERDOMAIN);
                let bound = self.ioctl(fd, request, self.memory.addr())?;
                self.keep_port(bound);
            }
            4 => {
                let virq = self.chance.of(&[1, 8, 9, 15, 23, 24, 1000, u32::MAX]);
                self.memory.write_at(0, &virq);
                let request = request!(evtchn::BIND_VIRQ);
                let bound = self.ioctl(fd, request, self.memory.addr())?;
                self.keep_port(bound);
            }
            5 => {
                self.request(fd, request!(evtchn::BIND_STATIC), port)?;
            }
            6 => {
                self.request(fd, request!(evtchn::UNBIND), port)?;
            }
            7..=9 => {
                self.request(fd, request!(evtchn::NOTIFY), port)?;
            }
            10 => {
                self.ioctl(fd, request!(evtchn::RESET), 0)?;
            }
            11 if self.chance.one_in(6) => {
                self.request(fd, request!(evtchn::RESTRICT_DOMID), domain as DomId)?;
            }
            11 => {
                let status = evtchn::PortStatus {
                    port,
                    ..sys::Plain::zeroed()
                };
                self.request(fd, request!(evtchn::PORT_STATUS), status)?;
            }
            12 => {
                let vcpu = self.chance.number() as u32;
                let set = evtchn::PortVcpu { port, vcpu };
                self.request(fd, request!(evtchn::PORT_SET_VCPU), set)?;
            }
            13 => {
                let at = self.address();
                let length = self.chance.of(&[0, 3, 4, 6, 64, 4096, 1 << 20]);
                self.call(format_args!("read {fd} to {at:#x} length {length}"));
                sys::set_status_flag(fd, libc::O_NONBLOCK, true)?;
                // SAFETY: The kernel writes to the arguments' memory but for its first page, to the arena, or not at
                // all.
                Errno::check(
                    unsafe { libc::read(fd.as_raw_fd(), at as *mut c_void, length) } as i64,
                )?;
            }
            _ => {
                let ports: Vec<u8> = (0..self.chance.below(20))
                    .flat_map(|_| self.port().to_ne_bytes())
                    .collect();
                self.call(format_args!("write {fd} {} bytes of ports", ports.len()));
                sys::write(fd, &ports)?;
            }
        }
        Ok(())
    }
}
