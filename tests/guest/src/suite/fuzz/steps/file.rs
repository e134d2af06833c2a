// SPDX-License-Identifier: GPL-2.0

//! Opening files, and what can be done with any.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::time::Duration;

use super::super::world::{Hand, Request};
use crate::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use crate::sys::{self, Errno, PAGE};

const OTHERS: [&str; 8] = [
    HypercallBuffer::PATH,
    "/proc/xen/privcmd",
    "/proc/xen/capabilities",
    "/proc/xen/xensyms",
    "/proc/xen/xsd_port",
    "/sys/kernel/debug/xen_privcmd/calls",
    "/sys/devices/system/xen_memory/xen_memory0/info/current_kb",
    "/sys/devices/system/xen_memory/xen_memory0/target_kb",
];

impl Hand<'_> {
    pub(super) fn open(&mut self) -> sys::Result<()> {
        let world = self.world;
        let (slots, path) = match self.chance.below(8) {
            0 | 1 => (&world.evtchn, Evtchn::PATH),
            2 | 3 => (&world.gntdev, Gntdev::PATH),
            4 | 5 => (&world.privcmd, Privcmd::PATH),
            6 => (&world.other, HypercallBuffer::PATH),
            _ => (&world.other, self.chance.of(&OTHERS)),
        };
        let slot = self.slot(slots);
        match self.chance.below(17) {
            16 => {
                let slot = self.slot(&world.other);
                let pages = self.chance.of(&[1, 1, 2, 3]);
                self.call(format_args!("open {slot} udmabuf of {pages} pages"));
                slot.replace(sys::udmabuf(pages * PAGE)?.into_raw_fd());
            }
            0..=3 => {
                self.call(format_args!("close {slot}"));
                slot.replace(-1);
            }
            4 | 5 => {
                // The same file twice.
                let from = self.slot(slots);
                self.call(format_args!("dup {from} to {slot}"));
                // SAFETY: Takes only a number.
                slot.replace(unsafe { libc::dup(from.as_raw_fd()) });
            }
            _ => {
                let flags = self.chance.of(&[0, libc::O_NONBLOCK]) | libc::O_RDWR;
                self.call(format_args!("open {slot} {path} flags {flags:#x}"));
                // What would be written to a file of the system is not for this step.
                let first = if path.starts_with("/sys/") {
                    libc::O_RDONLY
                } else {
                    flags
                };
                let file = sys::open(path, first).or_else(|_| sys::open(path, libc::O_RDONLY))?;
                slot.replace(file.into_raw_fd());
            }
        }
        Ok(())
    }

    pub(super) fn file(&mut self) -> sys::Result<()> {
        let fd = self.any_slot();
        match self.chance.below(8) {
            0 => {
                self.call(format_args!("pass {fd} over a socket"));
                let (here, there) = sys::socket_pair()?;
                sys::send_descriptor(&here, fd)?;
                if self.chance.one_in(2) {
                    fd.replace(sys::receive_descriptor(&there)?.into_raw_fd());
                }
            }
            1 => {
                self.call(format_args!("read fdinfo of {fd}"));
                let _ = std::fs::read(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
            }
            2 => {
                let on = self.chance.one_in(2);
                self.call(format_args!("fcntl {fd} O_ASYNC {on}"));
                sys::own_signals(fd)?;
                sys::set_status_flag(fd, libc::O_ASYNC, on)?;
            }
            3 => {
                self.call(format_args!("poll {fd}"));
                sys::poll(fd, libc::POLLIN | libc::POLLOUT, Duration::ZERO)?;
            }
            4 => {
                let (at, length) = (self.address(), self.chance.number());
                let (length, offset) = ((length as usize).min(2 * PAGE), self.chance.number());
                self.call(format_args!(
                    "pread {fd} to {at:#x} length {length} offset {offset:#x}"
                ));
                // Files that wait are not waited for.
                sys::set_status_flag(fd, libc::O_NONBLOCK, true)?;
                // SAFETY: The kernel writes to memory for arguments, to the arena, or not at all.
                Errno::check(unsafe {
                    libc::pread(
                        fd.as_raw_fd(),
                        at as *mut c_void,
                        length,
                        offset as i64 & 0xffff,
                    )
                } as i64)?;
            }
            5 => {
                // Mapped as it should not be.
                let (at, offset) = (self.place(), self.chance.number() << 12);
                let pages = self.pages(at, 4);
                let flags =
                    self.chance
                        .of(&[libc::MAP_PRIVATE, libc::MAP_PRIVATE, libc::MAP_SHARED]);
                self.map(fd, at, pages, offset, flags)?;
            }
            6 => self.map_anywhere()?,
            _ => {
                let (request, argument) = (self.chance.next() as u32, self.chance.next() as usize);
                self.ioctl(fd, Request("anything", request), argument)?;
            }
        }
        Ok(())
    }

    /// Maps a file where no memory should be, but never over memory that is there.
    fn map_anywhere(&mut self) -> sys::Result<()> {
        let fd = self.any_slot();
        let at = self.chance.of(&[
            0_usize,
            0x1000,
            0x1001,
            0x7fff_ffff_e000,
            0x7fff_ffff_f000,
            0x8000_0000_0000,
            0xffff_8000_0000_0000,
            usize::MAX & !0xfff,
        ]);
        let length = self
            .chance
            .of(&[0, 1, PAGE, 2 * PAGE, 1 << 40, 1 << 47, usize::MAX]);
        let offset = self.offset();
        let flags = self
            .chance
            .of(&[libc::MAP_SHARED, libc::MAP_SHARED, libc::MAP_PRIVATE]);
        self.call(format_args!(
            "mmap {fd} at {at:#x} length {length:#x} offset {offset:#x} flags {flags:#x}"
        ));
        // SAFETY: No mapping that is in use is replaced.
        let found = unsafe {
            libc::mmap(
                at as *mut c_void,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags | libc::MAP_FIXED_NOREPLACE,
                fd.as_raw_fd(),
                offset as i64,
            )
        };
        if found == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: It was just mapped, and no reference into it exists.
        Errno::check(unsafe { libc::munmap(found, length) }).map(drop)
    }
}
