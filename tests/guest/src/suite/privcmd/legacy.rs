// SPDX-License-Identifier: GPL-2.0

//! MMAP, which takes runs of frames and is for paravirtual domains only.

use crate::abi::privcmd::{self as abi, MmapEntry};
use crate::device::{HypercallBuffer, Privcmd};
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::SOON;
use crate::sys::{self, Mapping, PAGE};
use crate::xen::{BareDomain, Kind};

/// Entries that lie one after the other from an address on, one frame each.
pub(super) fn entries(addr: usize, frames: &[u64]) -> Vec<MmapEntry> {
    let entry = |(i, &mfn): (usize, &u64)| MmapEntry {
        va: (addr + i * PAGE) as u64,
        mfn,
        npages: 1,
    };
    frames.iter().enumerate().map(entry).collect()
}

pub fn runs() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    // More entries than fit a page.
    let frames = domain.populate(400)?;
    let file = Privcmd::open()?;
    let range = file.reserve(400)?;
    file.mmap(domain.id(), &entries(range.addr(), &frames))?;
    for i in 0..400 {
        range.write_at(i * PAGE, &(i as u64));
    }
    let other = file.map_frames(domain.id(), &frames)?;
    for i in 0..400 {
        equal(other.read_at(i * PAGE), i as u64, "a page's number")?;
    }
    // A run of several: frames that happen to follow each other.
    if let Some(i) = (0..399).find(|&i| frames[i] + 1 == frames[i + 1]) {
        let range = file.reserve(2)?;
        file.mmap(
            domain.id(),
            &[MmapEntry {
                va: range.addr() as u64,
                mfn: frames[i],
                npages: 2,
            }],
        )?;
        equal(
            range.read_at(PAGE),
            (i + 1) as u64,
            "the number of a run's second page",
        )?;
    }
    drop((range, other));
    check(domain.destroyed_within(SOON)?, "pages are still held")
}

pub fn refused() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let frames = domain.populate(4)?;
    let file = Privcmd::open()?;
    let range = file.reserve(4)?;
    let all = entries(range.addr(), &frames);
    // Not from the start.
    file.mmap(domain.id(), &all[1..]).fails_with(libc::EINVAL)?;
    file.mmap(domain.id(), &entries(range.addr() + 1, &frames))
        .fails_with(libc::EINVAL)?;
    file.mmap(domain.id(), &entries(0, &frames))
        .fails_with(libc::EINVAL)?;
    let mut argument = abi::Mmap {
        num: 1,
        dom: domain.id(),
        pad: 0,
        entry: 8,
    };
    sys::ioctl_struct(&file, abi::MMAP, &mut argument).fails_with(libc::EFAULT)?;
    file.mmap(domain.id(), &all)?;
    // Filled.
    file.mmap(domain.id(), &all).fails_with(libc::EINVAL)
}

pub fn refused_leaves_nothing() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let frames = domain.populate(4)?;
    let file = Privcmd::open()?;
    let range = file.reserve(4)?;
    let all = entries(range.addr(), &frames);
    let refuse = |change: &dyn Fn(&mut Vec<MmapEntry>)| {
        let mut entries = all.clone();
        change(&mut entries);
        file.mmap(domain.id(), &entries).fails_with(libc::EINVAL)?;
        check(
            (0..4).all(|i| !range.readable(i * PAGE)),
            "a refused call filled a page",
        )
    };
    // A gap, an overlap, past the end, and past the end of all addresses.
    refuse(&|e| e[2].va += PAGE as u64)?;
    refuse(&|e| e[2].va -= PAGE as u64)?;
    refuse(&|e| e[3].npages = 2)?;
    refuse(&|e| e[0].npages = 1 << 52)?;
    refuse(&|e| e[1].npages = u64::MAX)?;
    refuse(&|e| e[3].npages = i64::MAX as u64 >> 12)?;
    file.mmap(domain.id(), &all)?;
    check(range.readable(3 * PAGE), "the last page is not filled")
}

pub fn foreign_range() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let frames = domain.populate(1)?;
    let file = Privcmd::open()?;
    let anonymous = Mapping::anonymous(PAGE)?;
    anonymous.fill(1);
    let buffer = HypercallBuffer::open()?.pages(1)?;
    for place in [anonymous.addr(), buffer.addr()] {
        file.mmap(domain.id(), &entries(place, &frames))
            .fails_with(libc::EINVAL)?;
    }
    equal(anonymous.read_at::<u8>(0), 1, "a byte of other memory")
}

pub fn translated() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let frames = domain.populate(1)?;
    let file = Privcmd::open()?;
    let range = file.reserve(1)?;
    file.mmap(domain.id(), &entries(range.addr(), &frames))
        .fails_with(libc::ENOSYS)?;
    sys::ioctl_bad_pointer(&file, abi::MMAP).fails_with(libc::ENOSYS)
}
