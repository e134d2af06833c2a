// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/hypercall`.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{kill_after, SOON};
use crate::device::{HypercallBuffer, Privcmd};
use crate::ktap::{check, equal, skip, FailsWith, Suite, Test, TestResult};
use crate::resources::{free_memory, loses_less_than};
use crate::sys::{self, Child, Exit, Mapping, PAGE};
use crate::xen::XEN_VERSION;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "hypercall-buffer",
    tests: &[
        Test::new("usable_by_hypercall", usable_by_hypercall),
        Test::new("zeroed", zeroed),
        Test::new("shared_only", shared_only),
        Test::new("no_requests", no_requests),
        Test::new("survives_fork", survives_fork),
        Test::new("survives_split", survives_split),
        Test::new("freed_page_by_page", freed_page_by_page)
            .differs_in_c("keeps all until the last is unmapped"),
        Test::new("not_expanded", not_expanded),
        Test::new("moved", moved),
        Test::new("outlives_file", outlives_file),
        Test::new("limited", limited).breaks_c("has no limit, and warns"),
        Test::new("limit_is_given_back", limit_is_given_back).breaks_c("has no limit"),
        Test::new("killed", killed),
        Test::new("leaks_nothing", leaks_nothing),
    ],
};

fn usable_by_hypercall() -> TestResult {
    let (file, privcmd) = (HypercallBuffer::open()?, Privcmd::open()?);
    // Every page of a buffer, not only the first.
    let pages = file.pages(4)?;
    for page in 0..4 {
        const EXTRAVERSION: u64 = 1;
        let addr = (pages.addr() + page * PAGE) as u64;
        // SAFETY: The hypercall writes a string of at most sixteen bytes.
        unsafe { privcmd.hypercall(XEN_VERSION, [EXTRAVERSION, addr, 0, 0, 0]) }?;
        equal(
            pages.read_at::<u8>(page * PAGE),
            b'.',
            "the first byte of what comes after the version",
        )?;
    }
    Ok(())
}

fn zeroed() -> TestResult {
    let file = HypercallBuffer::open()?;
    for _ in 0..50 {
        let pages = file.pages(8)?;
        check(
            pages.bytes(0, 8 * PAGE).iter().all(|&b| b == 0),
            "memory that is not zero",
        )?;
        pages.fill(0xee);
    }
    Ok(())
}

fn shared_only() -> TestResult {
    let file = HypercallBuffer::open()?;
    for prot in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
        Mapping::new(PAGE, prot, libc::MAP_PRIVATE, Some(file.as_raw_fd()), 0)
            .fails_with(libc::EINVAL)?;
    }
    Ok(())
}

fn no_requests() -> TestResult {
    let file = HypercallBuffer::open()?;
    for request in [0, crate::abi::privcmd::HYPERCALL, u32::MAX] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::ENOTTY)?;
    }
    sys::read(&file, &mut [0; 4]).fails_with(libc::EINVAL)?;
    sys::write(&file, &[0; 4]).fails_with(libc::EINVAL)
}

fn survives_fork() -> TestResult {
    let pages = HypercallBuffer::open()?.pages(2)?;
    pages.write_at(PAGE, &1_u32);
    let child = Child::fork(|| {
        let seen: u32 = pages.read_at(PAGE);
        pages.write_at(PAGE, &(seen + 1));
        0
    })?;
    equal(child.wait(), Exit::Status(0), "the child's end")?;
    equal(pages.read_at(PAGE), 2_u32, "what the child wrote")?;
    // The child keeps them when the parent lets go.
    let (read, write) = sys::pipe()?;
    let mut child = Child::fork(|| {
        let _ = sys::read(&read, &mut [0]);
        i32::from(pages.read_at::<u32>(PAGE) != 2)
    })?;
    pages.unmap()?;
    sys::write(&write, &[0])?;
    equal(
        child.wait_for(SOON),
        Some(Exit::Status(0)),
        "the child's end",
    )
}

fn survives_split() -> TestResult {
    let pages = HypercallBuffer::open()?.pages(9)?;
    for i in 0..9 {
        pages.write_at(i * PAGE, &(i as u64));
    }
    for i in [4, 0, 8, 1] {
        pages.unmap_part(i * PAGE, PAGE)?;
        check(!pages.readable(i * PAGE), "an unmapped page can be read")?;
    }
    for i in [2, 3, 5, 6, 7] {
        equal(
            pages.read_at(i * PAGE),
            i as u64,
            "a page beside an unmapped one",
        )?;
    }
    Ok(())
}

fn freed_page_by_page() -> TestResult {
    const PAGES: usize = 4096;
    let file = HypercallBuffer::open()?;
    let pages = file.pages(PAGES)?;
    pages.write_at((PAGES - 1) * PAGE, &1_u8);
    let free = free_memory;
    let before = free();
    pages.unmap_part(0, (PAGES - 1) * PAGE)?;
    let back = sys::eventually(SOON, || free() > before + (PAGES * 4) as u64 * 3 / 4);
    check(back, "the pages are kept for the sake of one")?;
    equal(
        pages.read_at((PAGES - 1) * PAGE),
        1_u8,
        "the page that is left",
    )
}

fn not_expanded() -> TestResult {
    let mut pages = HypercallBuffer::open()?.pages(2)?;
    pages.write_at(0, &7_u8);
    pages.remap(4 * PAGE).fails_with(libc::EFAULT)?;
    equal(pages.read_at(0), 7_u8, "what was written")?;
    pages.remap(PAGE)?;
    equal(pages.read_at(0), 7_u8, "what was written")
}

fn moved() -> TestResult {
    let mut pages = HypercallBuffer::open()?.pages(4)?;
    let old = pages.addr();
    pages.write_at(3 * PAGE, &9_u8);
    if pages.move_away().is_ok() {
        check(!sys::probe(old), "the old place can still be read")?;
    }
    equal(pages.read_at(3 * PAGE), 9_u8, "what was written")
}

fn outlives_file() -> TestResult {
    let file = HypercallBuffer::open()?;
    let pages = file.pages(2)?;
    drop(file);
    pages.fill(3);
    equal(pages.read_at(PAGE), 3_u8, "what was written")
}

/// The parameter that limits how many pages there are in all.
fn limit() -> TestResult<(String, usize)> {
    let directory = "/sys/module/xen_privcmd/parameters";
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.contains("hypercall") || name.starts_with("buf") {
            let path = format!("{directory}/{name}");
            let value = fs::read_to_string(&path)?;
            return match value.trim().parse() {
                Ok(value) => Ok((path, value)),
                Err(_) => crate::ktap::fail(format_args!("{path} is not a number")),
            };
        }
    }
    crate::ktap::fail("no parameter limits the pages")
}

fn limited() -> TestResult {
    let file = HypercallBuffer::open()?;
    for pages in [1 << 18, 1 << 24, 1 << 30] {
        file.pages(pages).fails_with(libc::ENOMEM)?;
    }
    file.pages(1)?.fill(1);
    Ok(())
}

fn limit_is_given_back() -> TestResult {
    let (path, most) = limit()?;
    let old = fs::read_to_string(&path)?;
    if fs::write(&path, "300").is_err() {
        return skip("the limit cannot be changed");
    }
    let result = (|| -> TestResult {
        let file = HypercallBuffer::open()?;
        // The daemons may have some of them.
        for _ in 0..10 {
            let pages = file.pages(200)?;
            file.pages(200).fails_with(libc::ENOMEM)?;
            pages.unmap_part(0, 150 * PAGE)?;
            sys::eventually(SOON, || file.pages(150).is_ok());
            file.pages(150)?;
        }
        file.pages(301).fails_with(libc::ENOMEM)
    })();
    fs::write(&path, old.trim())?;
    check(most > 300, "the limit is too low for a toolstack")?;
    result
}

fn killed() -> TestResult {
    for i in 0..10 {
        let mut child = Child::fork(|| loop {
            let Ok(pages) = HypercallBuffer::open().and_then(|file| file.pages(64)) else {
                return 1;
            };
            pages.fill(1);
        })?;
        kill_after(&mut child, Duration::from_millis(5 + 3 * i), SOON)?;
    }
    Ok(())
}

fn leaks_nothing() -> TestResult {
    let file = HypercallBuffer::open()?;
    let rounds = |n: usize| -> TestResult {
        for _ in 0..n {
            let pages = file.pages(64)?;
            pages.unmap_part(7 * PAGE, PAGE)?;
        }
        Ok(())
    };
    rounds(20)?;
    // A page lost a round would be 1200 KiB, all of them 75 MB.
    loses_less_than(1000, || rounds(300))
}
