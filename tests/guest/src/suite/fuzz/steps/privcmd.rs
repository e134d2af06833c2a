// SPDX-License-Identifier: GPL-2.0

//! What can be done with `/dev/xen/privcmd` and `/dev/xen/hypercall`.

use std::os::fd::AsRawFd;

use super::super::outside::Side;
use super::super::world::{request, Hand, Shared};
use crate::abi::privcmd;
use crate::sys::{self, PAGE};
use crate::xen::XEN_VERSION;

impl<'w> Hand<'w> {
    pub(super) fn privcmd(&mut self) -> sys::Result<()> {
        let world = self.world;
        let fd = self.slot(&world.privcmd);
        let dom = self.domain();
        match self.chance.below(18) {
            0..=3 => {
                let at = self.place();
                let pages = self.pages(at, 8);
                let fd = if self.chance.one_in(4) {
                    self.slot(&world.other)
                } else {
                    fd
                };
                self.map(fd, at, pages, 0, libc::MAP_SHARED)?;
            }
            4..=8 => self.frames(fd)?,
            9 => {
                // Frames beyond those that were granted are not for writing where a domain runs.
                let side = self.bare_side();
                let entry = privcmd::MmapEntry {
                    va: self.place() as u64,
                    mfn: self.frame(side),
                    npages: self.chance.number(),
                };
                self.memory.write_at(2 * PAGE, &entry);
                let map = privcmd::Mmap {
                    num: self.chance.of(&[1, 1, 1, 0, -1, 2]),
                    dom: side.id,
                    pad: 0,
                    entry: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, request!(privcmd::MMAP), map)?;
            }
            10 | 11 => {
                // Nor are the tables of a domain that runs.
                let dom = self.bare_side().id;
                let at = self.place();
                let num = self.chance.of(&[0, 1, 1, 2, 4, 33, u64::MAX]);
                if self.chance.one_in(2) {
                    // Its length is not often right by chance.
                    let pages = (num as usize).clamp(1, self.room(at));
                    self.map(fd, at, pages, 0, libc::MAP_SHARED)?;
                }
                let resource = privcmd::MmapResource {
                    dom,
                    pad: 0,
                    kind: self.chance.of(&[0, 1, 1, 1, 2, u32::MAX]),
                    id: self.chance.of(&[0, 0, 0, 1, u32::MAX]),
                    idx: self.chance.of(&[0, 0, 1, 31, u32::MAX]),
                    num,
                    addr: self.chance.of(&[0, 1, 1, 1]) * at as u64,
                };
                self.request(fd, request!(privcmd::MMAP_RESOURCE), resource)?;
            }
            12 => {
                let num = self.chance.below(4);
                for i in 0..num {
                    let buffer = privcmd::DmOpBuf {
                        uptr: self.address(),
                        size: self.chance.of(&[0, 4, 48, 48, 4096, 4097, u64::MAX]),
                    };
                    self.memory.write_at(2 * PAGE + 16 * i, &buffer);
                }
                // The number of vCPUs, or nothing: what changes a domain is not for chance.
                self.memory
                    .write_at(PAGE, &[self.chance.of(&[20_u32, 9999]), 0]);
                let operation = privcmd::DmOp {
                    dom,
                    num: if self.chance.one_in(12) {
                        self.chance.number() as u16
                    } else {
                        num as u16
                    },
                    pad: 0,
                    ubufs: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, request!(privcmd::DM_OP), operation)?;
            }
            13 => {
                let eventfd = sys::eventfd()?;
                self.memory.write_at(PAGE, &[20_u32, 0]);
                let irqfd = privcmd::Irqfd {
                    dm_op: (self.memory.addr() + PAGE) as u64,
                    size: self.chance.of(&[48, 48, 0, 4096, 4097, u32::MAX]),
                    fd: eventfd.as_raw_fd() as u32,
                    flags: self.chance.of(&[0, 0, 0, 1, 2]),
                    dom,
                    pad: [0; 2],
                };
                self.request(fd, request!(privcmd::IRQFD), irqfd)?;
                let _ = sys::write(&eventfd, &1_u64.to_ne_bytes());
                if self.chance.one_in(2) {
                    let take_back = privcmd::Irqfd {
                        flags: privcmd::DEASSIGN,
                        ..irqfd
                    };
                    self.request(fd, request!(privcmd::IRQFD), take_back)?;
                }
            }
            14 => {
                let eventfd = sys::eventfd()?;
                let ports = [self.port(), self.port()];
                self.memory.write_at(PAGE, &ports);
                let ioeventfd = privcmd::Ioeventfd {
                    ioreq: self.place() as u64,
                    ports: (self.memory.addr() + PAGE) as u64,
                    addr: self.chance.number(),
                    addr_len: self.chance.of(&[1, 2, 4, 8, 3]),
                    event_fd: eventfd.as_raw_fd() as u32,
                    vcpus: self.chance.of(&[1, 1, 2, 0, 200, u32::MAX]),
                    vq: self.chance.number() as u32,
                    flags: self.chance.of(&[0, 0, 1, 2]),
                    dom,
                    pad: [0; 2],
                };
                self.request(fd, request!(privcmd::IOEVENTFD), ioeventfd)?;
            }
            15 if self.chance.one_in(8) => {
                self.request(fd, request!(privcmd::RESTRICT), dom)?;
            }
            15 => {
                let ask = privcmd::PcidevGetGsi {
                    sbdf: self.chance.number() as u32,
                    gsi: 0,
                };
                self.request(fd, request!(privcmd::PCIDEV_GET_GSI), ask)?;
            }
            _ => {
                // Xen's version, and calls that it does not have.
                let call = privcmd::Hypercall {
                    op: self
                        .chance
                        .of(&[XEN_VERSION, XEN_VERSION, 60, 1 << 33, u64::MAX]),
                    arg: [0; 5],
                };
                // Never read from elsewhere, where it might be any: number 0 takes a PV kernel's trap table away.
                self.memory.write_at(0, &call);
                self.ioctl(fd, request!(privcmd::HYPERCALL), self.memory.addr())?;
            }
        }
        Ok(())
    }

    fn bare_side(&mut self) -> &'w Side {
        let bare = self.world.outside.bare();
        &bare[self.chance.below(bare.len())]
    }

    /// A frame of a domain, or none of it.
    fn frame(&mut self, side: &Side) -> u64 {
        match self.chance.below(10) {
            0 if !side.runs => self.chance.number(),
            0 => u64::MAX,
            _ => self.chance.of(&side.frames),
        }
    }

    /// Maps frames of another domain.
    fn frames(&mut self, fd: &Shared) -> sys::Result<()> {
        let side = self.side();
        let dom = self.mostly(side);
        let pages = 1 + self.chance.below(8);
        for i in 0..pages {
            let frame = self.frame(side);
            self.memory.write_at(2 * PAGE + 8 * i, &frame);
        }
        let num = if self.chance.one_in(12) {
            self.chance.number() as u32
        } else {
            pages as u32
        };
        let at = self.place();
        // A range of just this length is not often there by chance.
        if self.chance.one_in(3) {
            let pages = self.room(at).min(pages);
            self.map(fd, at, pages, 0, libc::MAP_SHARED)?;
        }
        let (addr, arr) = (at as u64, (self.memory.addr() + 2 * PAGE) as u64);
        if self.chance.one_in(3) {
            let batch = privcmd::MmapBatch {
                num: num as i32,
                dom,
                pad: 0,
                addr,
                arr,
            };
            self.request(fd, request!(privcmd::MMAPBATCH), batch)?;
        } else {
            let batch = privcmd::MmapBatchV2 {
                num,
                dom,
                pad: 0,
                addr,
                arr,
                err: self.address(),
            };
            self.request(fd, request!(privcmd::MMAPBATCH_V2), batch)?;
        }
        Ok(())
    }
}
