// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`.

use std::ops::Range;

use xen_guest::abi::gntdev as abi;
use xen_guest::device::{Evtchn, Gntdev};
use xen_guest::sys::{self, Errno, Mapping, Result};

use super::{open_close, rejected};
use crate::measure::Report;
use crate::partner::{Partner, PAGE};

pub fn measure(report: &mut Report, partner: &Partner) {
    open_close(report, "gntdev", Gntdev::open);
    let gntdev = match Gntdev::open() {
        Ok(gntdev) => gntdev,
        Err(error) => return report.unsupported("gntdev", error),
    };
    rejected(report, "gntdev", &gntdev);
    for count in [1, 16, 256, 4096] {
        if let Err(error) = grants(report, &gntdev, partner, count) {
            report.unsupported(&format!("grants_{count}"), error);
        }
    }
    if let Err(error) = notification(report, &gntdev, partner) {
        report.unsupported("unmap_notification", error);
    }
    for maps in [100, 2000, 8000] {
        if let Err(error) = many_maps(report, partner, maps) {
            report.unsupported(&format!("maps_{maps}"), error);
        }
    }
    for segments in [1, 16, 64, 512] {
        for (name, flag) in [("to", abi::COPY_DEST_GREF), ("from", abi::COPY_SOURCE_GREF)] {
            if let Err(error) = copy(report, &gntdev, partner, segments, name, flag) {
                report.unsupported(&format!("copy_{name}_{segments}"), error);
            }
        }
    }
}

/// The argument of a map request, written once so that only the request itself is measured.
pub struct MapRequest {
    argument: Mapping,
    count: usize,
}

impl MapRequest {
    /// For these of the partner's grants.
    pub fn new(partner: &Partner, grants: Range<usize>) -> Result<Self> {
        let count = grants.len();
        let header = size_of::<abi::MapGrantRef>();
        let size = header + count * size_of::<abi::GrantRef>();
        let argument = Mapping::anonymous(size.next_multiple_of(PAGE))?;
        argument.write_at(
            0,
            &abi::MapGrantRef {
                count: count as u32,
                pad: 0,
                index: 0,
            },
        );
        for (i, &reference) in partner.references[grants].iter().enumerate() {
            let domid = partner.domain.id().into();
            argument.write_at(
                header + i * size_of::<abi::GrantRef>(),
                &abi::GrantRef { domid, reference },
            );
        }
        Ok(Self { argument, count })
    }

    /// Makes the map; gives its offset.
    #[inline(always)]
    pub fn make(&self, gntdev: &Gntdev) -> Result<u64> {
        // SAFETY: The argument has as many references as it says, and stays mapped.
        unsafe { sys::ioctl(gntdev, abi::MAP_GRANT_REF, self.argument.addr()) }?;
        Ok(self.argument.read_at::<abi::MapGrantRef>(0).index)
    }

    /// Forgets the map.
    pub fn drop_map(&self, gntdev: &Gntdev, index: u64) -> Result<()> {
        gntdev.unmap(index, self.count as u32)
    }
}

/// Mapping grants, touching each page, unmapping.
fn grants(report: &mut Report, gntdev: &Gntdev, partner: &Partner, count: usize) -> Result<()> {
    let request = MapRequest::new(partner, 0..count)?;
    report.measure(&format!("grants_{count}"), count as u64, |laps| {
        let index = laps.time("map", || request.make(gntdev))?;
        let memory = match laps.time("mmap", || gntdev.mmap(index, count)) {
            Ok(memory) => memory,
            Err(error) => {
                request.drop_map(gntdev, index)?;
                return Err(error);
            }
        };
        laps.time("touch", || {
            (0..count).for_each(|i| memory.write_at(i * PAGE, &1_u8))
        });
        laps.time("munmap", || memory.unmap())?;
        laps.time("unmap", || request.drop_map(gntdev, index))
    });
    Ok(())
}

/// Mapping one grant with a byte to clear and an event to send when it is unmapped.
fn notification(report: &mut Report, gntdev: &Gntdev, partner: &Partner) -> Result<()> {
    let evtchn = Evtchn::open()?;
    let port = evtchn.bind_unbound(partner.domain.id().into())?;
    let request = MapRequest::new(partner, 0..1)?;
    let action = abi::NOTIFY_CLEAR_BYTE | abi::NOTIFY_SEND_EVENT;
    report.measure("unmap_notification", 1, |laps| {
        let index = request.make(gntdev)?;
        let memory = gntdev.mmap(index, 1)?;
        laps.time("set", || gntdev.notify_unmap(index, action, port))?;
        laps.time("munmap", || memory.unmap())?;
        laps.time("unmap", || request.drop_map(gntdev, index))
    });
    Ok(())
}

/// Many maps of one grant each on one file.
fn many_maps(report: &mut Report, partner: &Partner, maps: usize) -> Result<()> {
    let request = MapRequest::new(partner, 0..1)?;
    let mut indices = Vec::with_capacity(maps);
    report.measure(&format!("maps_{maps}"), maps as u64, |laps| {
        let gntdev = Gntdev::open()?;
        indices.clear();
        laps.time("make", || {
            (0..maps).try_for_each(|_| {
                indices.push(request.make(&gntdev)?);
                Ok::<(), Errno>(())
            })
        })?;
        laps.time("drop", || {
            indices
                .iter()
                .try_for_each(|&index| request.drop_map(&gntdev, index))
        })
    });
    Ok(())
}

/// Copies between pages of this process and grants, prepared once so that only the request itself is measured.
pub struct CopyRequest {
    segments: Vec<abi::CopySegment>,
    _memory: Mapping,
}

impl CopyRequest {
    /// A page each, to or from these of the partner's grants.
    pub fn new(partner: &Partner, grants: Range<usize>, flags: u16) -> Result<Self> {
        let memory = Mapping::anonymous(grants.len() * PAGE)?;
        memory.fill(1);
        let segments = partner.references[grants]
            .iter()
            .enumerate()
            .map(|(i, &reference)| {
                let here = abi::CopyEnd::local(memory.addr() + i * PAGE);
                let there = abi::CopyEnd::grant(partner.domain.id(), reference, 0);
                let (source, dest) = if flags == abi::COPY_DEST_GREF {
                    (here, there)
                } else {
                    (there, here)
                };
                abi::CopySegment {
                    source,
                    dest,
                    len: PAGE as u16,
                    flags,
                    status: 1,
                    pad: 0,
                }
            })
            .collect();
        Ok(Self {
            segments,
            _memory: memory,
        })
    }

    /// Copies all of it.
    #[inline(always)]
    pub fn make(&mut self, gntdev: &Gntdev) -> Result<()> {
        gntdev.copy(&mut self.segments)
    }

    /// What Xen said of the first segment that it did not copy.
    pub fn outcome(&self) -> Result<()> {
        match self
            .segments
            .iter()
            .find(|segment| segment.status != abi::GNTST_OKAY)
        {
            Some(segment) => Err(Errno(segment.status.into())),
            None => Ok(()),
        }
    }
}

/// Copying pages between this process and grants.
fn copy(
    report: &mut Report,
    gntdev: &Gntdev,
    partner: &Partner,
    count: usize,
    name: &str,
    flags: u16,
) -> Result<()> {
    let mut request = CopyRequest::new(partner, 0..count, flags)?;
    report.simple(&format!("copy_{name}_{count}"), count as u64, || {
        request.make(gntdev)
    });
    request.outcome()
}
