// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/privcmd` and `/dev/xen/hypercall`.

use xen_guest::device::privcmd::Resource;
use xen_guest::device::{HypercallBuffer, Privcmd};
use xen_guest::sys::{Errno, Result};
use xen_guest::xen::{grant, XEN_VERSION};

use super::{open_close, rejected};
use crate::measure::Report;
use crate::partner::Partner;

/// A frame that no domain has.
const NO_FRAME: u64 = 1 << 30;

pub fn measure(report: &mut Report, partner: &Partner) {
    open_close(report, "privcmd", Privcmd::open);
    open_close(report, "hypercall_buffer", HypercallBuffer::open);
    let (privcmd, buffers) = match (Privcmd::open(), HypercallBuffer::open()) {
        (Ok(privcmd), Ok(buffers)) => (privcmd, buffers),
        (Err(error), _) | (_, Err(error)) => return report.unsupported("privcmd", error),
    };
    rejected(report, "privcmd", &privcmd);
    report.simple("null_hypercall", 1, || {
        // SAFETY: XENVER_version takes no address.
        unsafe { privcmd.hypercall(XEN_VERSION, [0; 5]) }.map(drop)
    });
    for pages in [1, 256] {
        report.measure(&format!("hypercall_buffer_{pages}"), pages as u64, |laps| {
            let memory = laps.time("mmap", || buffers.pages(pages))?;
            laps.time("munmap", || memory.unmap())
        });
    }
    for count in [1, 64, 1024, 4096, 65_536] {
        foreign(report, &privcmd, partner, count, None);
    }
    for count in [64, 4096] {
        foreign(report, &privcmd, partner, count, Some(16));
    }
    let resource = Resource {
        dom: partner.domain.id(),
        kind: grant::RESOURCE,
        id: 0,
    };
    report.measure("resource_page", 1, |laps| {
        let range = laps.time("mmap", || privcmd.reserve(1))?;
        laps.time("ioctl", || {
            privcmd.map_resource_at(resource, 0, 1, range.addr())
        })?;
        laps.time("munmap", || range.unmap())
    });
    report.simple("resource_size", 1, || {
        privcmd.resource_size(resource).map(drop)
    });
}

/// Mapping frames of the other domain, one in `bad` of which does not exist.
fn foreign(
    report: &mut Report,
    privcmd: &Privcmd,
    partner: &Partner,
    count: usize,
    bad: Option<usize>,
) {
    let mut frames = partner.frames[..count].to_vec();
    let mut expected = 0;
    if let Some(bad) = bad {
        frames
            .iter_mut()
            .skip(bad - 1)
            .step_by(bad)
            .for_each(|frame| *frame = NO_FRAME);
        expected = count / bad;
    }
    let mut errors = vec![0; count];
    let dom = partner.domain.id();
    let name = format!(
        "foreign_map_{count}{}",
        if bad.is_some() { "_errors" } else { "" }
    );
    report.measure(&name, count as u64, |laps| -> Result<()> {
        let range = laps.time("mmap", || privcmd.reserve(count))?;
        laps.time("ioctl", || {
            privcmd.mmap_batch(dom, range.addr(), &frames, &mut errors)
        })?;
        if errors.iter().filter(|&&error| error != 0).count() != expected {
            return Err(Errno(libc::EIO));
        }
        laps.time("munmap", || range.unmap())
    });
}
