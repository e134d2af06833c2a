// SPDX-License-Identifier: GPL-2.0

//! What can be done with `/dev/xen/gntdev`, and with the buffers that it shares.

use std::os::fd::{AsRawFd, RawFd};

use super::super::world::{request, Hand, Shared};
use crate::abi::gntdev;
use crate::sys::{self, PAGE};

impl Hand<'_> {
    pub(super) fn gntdev(&mut self) -> sys::Result<()> {
        let world = self.world;
        let fd = self.slot(&world.gntdev);
        match self.chance.below(17) {
            0..=2 => {
                let count = 1 + self.chance.below(6);
                for i in 0..count {
                    let (domid, reference) = self.grant();
                    let grant = gntdev::GrantRef {
                        domid: domid.into(),
                        reference,
                    };
                    self.memory.write_at(16 + 8 * i, &grant);
                }
                let count = if self.chance.one_in(12) {
                    self.chance.number() as u32
                } else {
                    count as u32
                };
                let map = gntdev::MapGrantRef {
                    count,
                    pad: 0,
                    index: 0,
                };
                self.memory.write_at(0, &map);
                let request = request!(gntdev::MAP_GRANT_REF);
                self.ioctl(fd, request, self.memory.addr())?;
                let index = self.memory.read_at::<gntdev::MapGrantRef>(0).index;
                self.keep_offset(index);
                // Its length is not often right by chance.
                if self.chance.one_in(2) {
                    let at = self.place();
                    let pages = (count as usize).clamp(1, self.room(at));
                    self.map(fd, at, pages, index, libc::MAP_SHARED)?;
                }
            }
            3..=6 => {
                let (at, offset) = (self.place(), self.offset());
                let pages = self.pages(at, 6);
                self.map(fd, at, pages, offset, libc::MAP_SHARED)?;
            }
            7 => {
                let unmap = gntdev::UnmapGrantRef {
                    index: self.offset(),
                    count: 1 + self.chance.below(6) as u32,
                    pad: 0,
                };
                self.request(fd, request!(gntdev::UNMAP_GRANT_REF), unmap)?;
            }
            8 => {
                let ask = gntdev::GetOffsetForVaddr {
                    vaddr: self.address(),
                    ..sys::Plain::zeroed()
                };
                self.request(fd, request!(gntdev::GET_OFFSET_FOR_VADDR), ask)?;
            }
            9 | 10 => {
                let notify = gntdev::UnmapNotify {
                    index: self.offset().wrapping_add(self.chance.below(PAGE) as u64),
                    action: self.chance.of(&[0, 1, 2, 3, 3, 4, u32::MAX]),
                    event_channel_port: self.port(),
                };
                self.request(fd, request!(gntdev::SET_UNMAP_NOTIFY), notify)?;
            }
            11..=13 => {
                let count = 1 + self.chance.below(10);
                for i in 0..count {
                    let segment = self.segment();
                    self.memory.write_at(2 * PAGE + 24 * i, &segment);
                }
                let copy = gntdev::GrantCopy {
                    count: count as u32,
                    pad: 0,
                    segments: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, request!(gntdev::GRANT_COPY), copy)?;
            }
            14 | 15 => self.buffer(fd)?,
            _ if self.chance.one_in(6) => {
                let domain = self.domain();
                self.request(fd, request!(gntdev::RESTRICT), domain)?;
            }
            _ => {
                let most = self.chance.number() as u32;
                self.request(fd, request!(gntdev::SET_MAX_GRANTS), most)?;
            }
        }
        Ok(())
    }

    /// What has to do with dma-bufs.
    fn buffer(&mut self, fd: &Shared) -> sys::Result<()> {
        let world = self.world;
        let other = self.slot(&world.other);
        match self.chance.below(8) {
            0..=3 => {
                let side = self.side();
                let references = self.chance.of(&[1, 1, 2, 3, 4]);
                for i in 0..references {
                    let reference = self.reference(side);
                    // The first is in the structure.
                    self.memory.write_at(16 + 4 * i, &reference);
                }
                let export = gntdev::DmabufExport {
                    // A device's memory of several pages, or the pages as they are.
                    flags: self.chance.of(&[0, 0, 1, 1, 2, 2, 3, u32::MAX]),
                    count: self.chance.of(&[
                        references as u32,
                        references as u32,
                        references as u32,
                        0,
                        u32::MAX,
                    ]),
                    fd: 0,
                    domid: side.id.into(),
                    reference: self.memory.read_at(16),
                };
                let made = self.request(fd, request!(gntdev::DMABUF_EXP_FROM_REFS), export)?;
                other.replace(made.fd as RawFd);
            }
            4 | 5 => {
                let import = gntdev::DmabufImport {
                    fd: other.as_raw_fd() as u32,
                    count: self.chance.of(&[1, 1, 2, 3]),
                    domid: self.domain().into(),
                    reserved: 0,
                    reference: 0,
                };
                self.request(fd, request!(gntdev::DMABUF_IMP_TO_REFS), import)?;
            }
            6 => {
                let release = gntdev::DmabufRelease {
                    fd: other.as_raw_fd() as u32,
                    reserved: 0,
                };
                self.request(fd, request!(gntdev::DMABUF_IMP_RELEASE), release)?;
            }
            _ => {
                let wait = gntdev::DmabufWait {
                    fd: other.as_raw_fd() as u32,
                    wait_to_ms: self.chance.below(5) as u32,
                };
                self.request(fd, request!(gntdev::DMABUF_EXP_WAIT_RELEASED), wait)?;
            }
        }
        Ok(())
    }

    fn segment(&mut self) -> gntdev::CopySegment {
        let flags = self.chance.of(&[0, 1, 1, 1, 2, 2, 3, 4]);
        let mut end = |is_grant: bool| {
            if is_grant {
                let offset = self.chance.of(&[0, 0, 8, 4000, 4095, 5000]);
                let (domain, reference) = self.grant();
                gntdev::CopyEnd::grant(domain, reference, offset)
            } else {
                gntdev::CopyEnd::local(self.address() as usize)
            }
        };
        let source = end(flags & gntdev::COPY_SOURCE_GREF != 0);
        let dest = end(flags & gntdev::COPY_DEST_GREF != 0);
        gntdev::CopySegment {
            source,
            dest,
            len: self.chance.of(&[0, 1, 64, 96, 4095, 4096, 4097, u16::MAX]),
            flags,
            status: 0,
            pad: 0,
        }
    }
}
