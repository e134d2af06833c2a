// SPDX-License-Identifier: GPL-2.0

//! MMAP_RESOURCE.

use super::device_model::IoreqServer;
use crate::abi::privcmd as abi;
use crate::device::privcmd::Resource;
use crate::device::{HypercallBuffer, Privcmd};
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::{each_kind, SOON};
use crate::sys::{self, Mapping, Plain, PAGE};
use crate::xen::domain::GRANT_FRAMES;
use crate::xen::{grant, BareDomain, Kind};

fn grant_table(domain: &BareDomain) -> Resource {
    Resource {
        dom: domain.id(),
        kind: grant::RESOURCE,
        id: 0,
    }
}

pub fn size() -> TestResult {
    each_kind(|domain| {
        let file = Privcmd::open()?;
        equal(
            file.resource_size(grant_table(&domain))?,
            GRANT_FRAMES as u64,
            "frames of the grant table",
        )
    })
}

pub fn maps() -> TestResult {
    each_kind(|domain| {
        let file = Privcmd::open()?;
        let one = file.map_resource(grant_table(&domain), 0, GRANT_FRAMES)?;
        // The same frames through another range, one by one.
        for i in 0..GRANT_FRAMES {
            let other = file.map_resource(grant_table(&domain), i as u32, 1)?;
            one.write_at(i * PAGE + 2048, &(i as u64 + 7));
            equal(
                other.read_at(2048),
                i as u64 + 7,
                "a word of the grant table",
            )?;
        }
        drop(one);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn halves() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let file = Privcmd::open()?;
    let range = file.reserve(1)?;
    let table = grant_table(&domain);
    file.map_resource_at(table, 0, 0, range.addr())
        .fails_with(libc::EINVAL)?;
    file.map_resource_at(table, 0, 1, 0)
        .fails_with(libc::EINVAL)?;
    let argument = abi::MmapResource {
        dom: domain.id(),
        kind: grant::RESOURCE,
        ..Plain::zeroed()
    };
    // The size has no place to go.
    sys::ioctl_read_only(&file, abi::MMAP_RESOURCE, &argument).fails_with(libc::EFAULT)
}

pub fn unknown() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let file = Privcmd::open()?;
    let unknown = Resource {
        kind: 999,
        ..grant_table(&domain)
    };
    file.resource_size(unknown)
        .fails_with_any(&[libc::EOPNOTSUPP, libc::EINVAL])?;
    let nobody = Resource {
        dom: 0x7fe0,
        ..grant_table(&domain)
    };
    file.resource_size(nobody).fails_with(libc::ESRCH)?;
    let range = file.reserve(1)?;
    file.map_resource_at(nobody, 0, 1, range.addr())
        .fails_with(libc::ESRCH)
}

pub fn foreign_range() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let file = Privcmd::open()?;
    let anonymous = Mapping::anonymous(PAGE)?;
    anonymous.fill(1);
    let buffer = HypercallBuffer::open()?.pages(1)?;
    for place in [anonymous.addr(), buffer.addr(), usize::MAX & !(PAGE - 1)] {
        file.map_resource_at(grant_table(&domain), 0, 1, place)
            .fails_with(libc::EINVAL)?;
    }
    equal(anonymous.read_at::<u8>(0), 1, "a byte of other memory")
}

pub fn exact_range() -> TestResult {
    each_kind(|domain| {
        let file = Privcmd::open()?;
        let range = file.reserve(4)?;
        let table = grant_table(&domain);
        for (offset, frames) in [(0, 3), (0, 5), (PAGE, 3), (PAGE, 4), (8, 4), (1, 3)] {
            file.map_resource_at(table, 0, frames, range.addr() + offset)
                .fails_with(libc::EINVAL)?;
        }
        file.map_resource_at(table, 0, 4, range.addr() - PAGE)
            .fails_with(libc::EINVAL)?;
        check(
            (0..4).all(|i| !range.readable(i * PAGE)),
            "a refused call filled a page",
        )?;
        file.map_resource_at(table, 0, 4, range.addr())?;
        check(range.readable(3 * PAGE), "the last page is not filled")
    })
}

pub fn filled() -> TestResult {
    each_kind(|domain| {
        let file = Privcmd::open()?;
        let range = file.map_resource(grant_table(&domain), 0, 2)?;
        file.map_resource_at(grant_table(&domain), 0, 2, range.addr())
            .fails_with(libc::EBUSY)?;
        let frames = domain.populate(2)?;
        let memory = file.map_frames(domain.id(), &frames)?;
        file.map_resource_at(grant_table(&domain), 0, 2, memory.addr())
            .fails_with(libc::EBUSY)?;
        drop((range, memory));
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn failure_leaves_nothing() -> TestResult {
    each_kind(|domain| {
        let file = Privcmd::open()?;
        let range = file.reserve(2)?;
        // The second frame is past the end of the resource.
        let last = GRANT_FRAMES as u32 - 1;
        file.map_resource_at(grant_table(&domain), last, 2, range.addr())
            .fails_with(libc::EINVAL)?;
        check(
            !range.readable(0) && !range.readable(PAGE),
            "a refused call filled a page",
        )?;
        file.map_resource_at(grant_table(&domain), last - 1, 2, range.addr())?;
        check(range.readable(PAGE), "the range cannot be read in the end")?;
        drop(range);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn refused_numbers() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let file = Privcmd::open()?;
    let range = file.reserve(1)?;
    for frames in [1 << 32, (1 << 32) + 1, 1 << 52, u64::MAX / 8, u64::MAX] {
        file.map_resource_at(grant_table(&domain), 0, frames, range.addr())
            .fails_with(libc::EINVAL)?;
    }
    check(!range.readable(0), "a refused call filled a page")
}

pub fn ioreq() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let server = IoreqServer::create(&file, &domain)?;
    // The page of buffered requests and that of the vCPUs' requests.
    equal(
        file.resource_size(server.resource())?,
        2,
        "frames of the ioreq server",
    )?;
    let pages = file.map_resource(server.resource(), 0, 2)?;
    check(pages.readable(PAGE), "the requests' page cannot be read")?;
    drop(pages);
    server.destroy(&file)?;
    check(domain.destroyed_within(SOON)?, "pages are still held")
}
