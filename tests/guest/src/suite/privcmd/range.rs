// SPDX-License-Identifier: GPL-2.0

//! What happens to a range of addresses, filled or not.

use crate::device::Privcmd;
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::{each_kind, SOON};
use crate::sys::{self, Child, Exit, Mapping, PAGE};
use crate::xen::{BareDomain, Kind};

/// A filled range whose pages have their number in them.
fn filled(domain: &BareDomain, pages: usize) -> TestResult<Mapping> {
    let frames = domain.populate(pages)?;
    let memory = Privcmd::open()?.map_frames(domain.id(), &frames)?;
    for i in 0..pages {
        memory.write_at(i * PAGE, &(i as u32 + 1));
    }
    Ok(memory)
}

fn intact(memory: &Mapping) -> TestResult {
    for (i, offset) in (0..memory.len()).step_by(PAGE).enumerate() {
        equal(
            memory.read_at(offset),
            i as u32 + 1,
            format_args!("the number in page {i}"),
        )?;
    }
    Ok(())
}

pub fn unfilled_is_sigbus() -> TestResult {
    for write in [false, true] {
        let child = Child::fork(|| {
            let Ok(range) = Privcmd::open().and_then(|file| file.reserve(2)) else {
                return 1;
            };
            if write {
                range.write_at(PAGE, &1_u8);
            }
            i32::from(range.read_at::<u8>(PAGE))
        })?;
        equal(
            child.wait(),
            Exit::Signal(libc::SIGBUS),
            "the end of who touched an unfilled page",
        )?;
    }
    Ok(())
}

pub fn outlives_file() -> TestResult {
    // `filled` closes its file.
    each_kind(|domain| {
        let memory = filled(&domain, 8)?;
        intact(&memory)?;
        memory.unmap()?;
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

/// What the kernel notes of a range: it is not dumped into a core, nor copied, nor expanded.
pub fn flags() -> TestResult {
    let range = Privcmd::open()?.reserve(4)?;
    let start = format!("{:x}-", range.addr());
    let text = std::fs::read_to_string("/proc/self/smaps")?;
    let flags = text
        .lines()
        .skip_while(|l| !l.starts_with(&start))
        .find_map(|l| l.strip_prefix("VmFlags:"))
        .unwrap_or("");
    for flag in ["dc", "de", "dd", "io", "pf"] {
        check(
            flags.split_whitespace().any(|f| f == flag),
            format_args!("no {flag} among the flags {flags:?}"),
        )?;
    }
    Ok(())
}

pub fn not_inherited() -> TestResult {
    each_kind(|domain| {
        let memory = filled(&domain, 4)?;
        let addr = memory.addr();
        let child = Child::fork(|| i32::from(sys::probe(addr)))?;
        equal(
            child.wait(),
            Exit::Status(0),
            "the child can read the parent's range",
        )?;
        intact(&memory)
    })
}

pub fn not_split() -> TestResult {
    each_kind(|domain| {
        let memory = filled(&domain, 4)?;
        for (page, pages) in [(0, 1), (3, 1), (1, 2), (2, 2)] {
            memory
                .unmap_part(page * PAGE, pages * PAGE)
                .fails_with(libc::EINVAL)?;
        }
        intact(&memory)?;
        let unfilled = Privcmd::open()?.reserve(4)?;
        unfilled.unmap_part(PAGE, PAGE).fails_with(libc::EINVAL)?;
        drop(memory);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn not_resized() -> TestResult {
    each_kind(|domain| {
        let mut memory = filled(&domain, 4)?;
        memory.remap(8 * PAGE).fails_with(libc::EFAULT)?;
        memory.remap(2 * PAGE).fails_with(libc::EINVAL)?;
        intact(&memory)
    })
}

pub fn moved() -> TestResult {
    each_kind(|domain| {
        let mut memory = filled(&domain, 16)?;
        let old = memory.addr();
        // Moved or refused: in either case there is one place, and it has everything.
        if memory.move_away().is_ok() {
            check(!sys::probe(old), "the old place can still be read")?;
        }
        intact(&memory)?;
        // Fresh ranges must not get pages that are still in use here.
        let other = filled(&domain, 64)?;
        intact(&memory)?;
        intact(&other)?;
        drop((memory, other));
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn moved_unfilled() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let frames = domain.populate(4)?;
    let file = Privcmd::open()?;
    let mut range = file.reserve(4)?;
    // As good as new wherever it is.
    let _ = range.move_away();
    file.mmap_batch(domain.id(), range.addr(), &frames, &mut [0; 4])?;
    check(
        range.readable(3 * PAGE),
        "a page that was filled cannot be read",
    )
}

pub fn outlives_domain() -> TestResult {
    each_kind(|domain| {
        let memory = filled(&domain, 8)?;
        let (id, xen) = (domain.id(), crate::xen::Xen::open()?);
        drop(domain);
        // Dying, but its pages are held here.
        let info = xen.domain_info(id)?;
        check(
            info.domain == id && info.is_dying(),
            "the domain went while its pages were mapped",
        )?;
        intact(&memory)?;
        memory.unmap()?;
        let gone = sys::eventually(SOON, || xen.domain_info(id).map(|i| i.domain) != Ok(id));
        check(gone, "pages are still held")
    })
}

pub fn never_filled() -> TestResult {
    let file = Privcmd::open()?;
    let ranges: Vec<_> = (0..100)
        .map(|i| file.reserve(1 + i * 37))
        .collect::<sys::Result<_>>()?;
    drop(ranges);
    // A range larger than the machine costs nothing until it is filled.
    file.reserve(1 << 24)?;
    Ok(())
}
