// SPDX-License-Identifier: GPL-2.0

//! Memory that goes and comes, and what is told of it.
//!
//! Amounts are small: a translated dom0 in an emulator takes its time for each page that goes.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use super::{number, path, present, ROOT};
use crate::domu;
use crate::drivers;
use crate::inside;
use crate::ktap::{check, equal, fail, FailsWith, OrFail, TestResult};
use crate::suite::{kill_after, NEVER};
use crate::sys::{self, Exit};
use crate::xen::Xen;
use crate::xenstore::Xenstore;

/// What a few pages may take where each of them takes long.
const LONG: Duration = Duration::from_secs(120);

/// KiB of a page.
const PAGE_KB: u64 = 4;

fn write(name: &str, value: u64) -> TestResult {
    Ok(super::write(name, &value.to_string())?)
}

fn reached(target: u64, time: Duration) -> TestResult {
    let there = || number("info/current_kb").is_ok_and(|now| now == target);
    if sys::eventually(time, there) {
        return Ok(());
    }
    fail(format_args!(
        "{} of {target} KiB, retry {}, after {} s",
        number("info/current_kb")?,
        number("retry_count")?,
        time.as_secs()
    ))
}

/// Waits until so many KiB are in the balloon: they are counted last, after what is there.
fn low(kb: u64) -> TestResult {
    sys::eventually(LONG, || number("info/low_kb").is_ok_and(|now| now == kb));
    equal(number("info/low_kb")?, kb, "what is in the balloon")
}

/// Sets a target and waits for it.
fn go(target: u64) -> TestResult {
    write("target_kb", target)?;
    reached(target, LONG)
}

/// Puts the target back when the test is over, however it ends.
struct Back(u64);

impl Back {
    fn later() -> TestResult<Self> {
        present()?;
        Ok(Self(number("target_kb")?))
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        // A test that has failed says why itself.
        let _ = go(self.0);
    }
}

/// Puts a file's number back.
struct Restore(&'static str, u64);

impl Restore {
    fn later(name: &'static str) -> TestResult<Self> {
        Ok(Self(name, number(name)?))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = write(self.0, self.1);
    }
}

/// Pages of this domain, as Xen counts them.
fn pages_by_xen() -> TestResult<u64> {
    Ok(Xen::open()?.domain_info(0)?.tot_pages)
}

/// Takes `kb` out and puts it in again, and asks Xen each time.
fn there_and_back(kb: u64) -> TestResult {
    let before = number("info/current_kb")?;
    let (pages, low_kb) = (pages_by_xen()?, number("info/low_kb")?);
    go(before - kb)?;
    equal(
        pages_by_xen()?,
        pages - kb / PAGE_KB,
        "pages by Xen, with some out",
    )?;
    low(low_kb + kb)?;
    equal(
        (number("retry_count")?, number("schedule_delay")?),
        (1, 1),
        "attempt and delay",
    )?;
    // What is reached stays reached.
    std::thread::sleep(NEVER);
    equal(number("info/current_kb")?, before - kb, "a moment later")?;
    go(before)?;
    equal(pages_by_xen()?, pages, "pages by Xen, with all in")?;
    low(low_kb)
}

pub(super) fn single_pages() -> TestResult {
    let _back = Back::later()?;
    there_and_back(PAGE_KB)?;
    there_and_back(24 * PAGE_KB)
}

pub(super) fn block_of_pages() -> TestResult {
    let _back = Back::later()?;
    there_and_back(2048 + 7 * PAGE_KB)
}

pub(super) fn poll() -> TestResult {
    let back = Back::later()?;
    let mut files = Vec::new();
    for name in ["target_kb", "target", "info/current_kb"] {
        let mut file = File::open(path(name))?;
        // Only what comes after a read is news.
        file.read_to_string(&mut String::new())?;
        files.push((name, file));
    }
    for (name, file) in &files {
        equal(
            sys::poll(file, libc::POLLPRI, NEVER)?,
            0,
            format_args!("{name}, with nothing to tell"),
        )?;
    }
    write("target_kb", back.0 - 8 * PAGE_KB)?;
    for (name, file) in &mut files {
        let events = sys::poll(file, libc::POLLPRI, LONG)?;
        check(
            events & libc::POLLPRI != 0,
            format_args!("{name} does not tell"),
        )?;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut String::new())?;
    }
    equal(
        number("info/current_kb")?,
        back.0 - 8 * PAGE_KB,
        "what was told",
    )
}

pub(super) fn refused_by_xen() -> TestResult {
    let back = Back::later()?;
    let _delay = Restore::later("max_schedule_delay")?;
    let _count = Restore::later("max_retry_count")?;
    write("max_schedule_delay", 1)?;
    write("max_retry_count", 0)?;
    let xen = Xen::open()?;
    let info = xen.domain_info(0)?;
    go(back.0 - 32 * PAGE_KB)?;
    // Xen now has half of that for us, and no more.
    xen.set_max_memory(0, (info.tot_pages - 16) * PAGE_KB)?;
    let result = (|| {
        write("target_kb", back.0)?;
        let refused = || number("retry_count").is_ok_and(|n| n > 2);
        check(sys::eventually(LONG, refused), "no attempt is counted")?;
        equal(
            number("info/current_kb")?,
            back.0 - 16 * PAGE_KB,
            "what Xen gave",
        )?;
        equal(number("target_kb")?, back.0, "the target meanwhile")
    })();
    xen.set_max_memory(0, info.max_pages * PAGE_KB)?;
    result?;
    reached(back.0, LONG)?;
    equal(number("retry_count")?, 1, "attempts at last")
}

/// Who writes is killed, in whatever it is doing: the target is what was written last, and reached.
pub(super) fn killed_writer() -> TestResult {
    let back = Back::later()?;
    let pages = pages_by_xen()?;
    let lower = back.0 - 32 * PAGE_KB;
    let values: Vec<_> = ["max_schedule_delay", "max_retry_count", "scrub_pages"]
        .into_iter()
        .map(|name| Ok((name, number(name)?)))
        .collect::<TestResult<_>>()?;
    for round in 0..if crate::boot::long() { 100 } else { 6 } {
        let mut child = sys::Child::fork(|| loop {
            for target in [lower, back.0] {
                let written = write("target_kb", target).is_ok()
                    && values
                        .iter()
                        .all(|&(name, value)| write(name, value).is_ok());
                if !written {
                    return 1;
                }
            }
        })?;
        kill_after(&mut child, Duration::from_millis(3 + 7 * (round % 8)), LONG)?;
        let target = number("target_kb")?;
        check(
            [lower, back.0].contains(&target),
            format_args!("a target of {target} KiB, which nobody has written"),
        )?;
        reached(target, LONG)?;
    }
    for (name, value) in values {
        equal(number(name)?, value, name)?;
    }
    go(back.0)?;
    // Pages may just be on their way out, for a target that is none any more: Xen has counted them off, and the
    // driver counts them when it has all of Xen's answer. They come back next.
    sys::eventually(LONG, || pages_by_xen().is_ok_and(|now| now == pages));
    std::thread::sleep(NEVER);
    equal(number("info/current_kb")?, back.0, "KiB, with all in")?;
    equal(pages_by_xen()?, pages, "pages by Xen, with all in")
}

/// Memory that is in use while pages go and come must not be among them.
pub(super) fn memory_is_sound() -> TestResult {
    let back = Back::later()?;
    let pattern = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let words: Vec<u64> = (0..4 << 20 >> 3).map(pattern).collect();
    for _ in 0..3 {
        go(back.0 - 128 * PAGE_KB)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .open("/tmp/balloon")?;
        file.write_all(&[0x5a; 1 << 20])?;
        go(back.0)?;
        check(
            fs::read("/tmp/balloon")? == [0x5a; 1 << 20],
            "a file has changed",
        )?;
        fs::remove_file("/tmp/balloon")?;
    }
    check(
        words
            .iter()
            .enumerate()
            .all(|(i, &word)| word == pattern(i)),
        "memory has changed",
    )
}

/// Xen lets the domain have more than the kernel knew of: memory is added, and is as good as other memory.
pub(super) fn memory_is_added() -> TestResult {
    const MORE: u64 = 4096;
    let back = Back::later()?;
    let most = number("info/current_kb")? + number("info/low_kb")?;
    let xen = Xen::open()?;
    let info = xen.domain_info(0)?;
    super::write(
        "target_kb",
        &(most.max(info.max_pages * PAGE_KB) + MORE).to_string(),
    )
    .fails_with(libc::ERANGE)?;
    xen.set_max_memory(0, most + 2 * MORE)?;
    let result = (|| {
        write("target_kb", most + MORE)?;
        let offline = || {
            fs::read_dir("/sys/devices/system/memory")
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| fs::read_to_string(entry.path().join("state")).ok())
                .any(|state| state.trim() == "offline")
        };
        check(sys::eventually(LONG, offline), "no memory was added")?;
        // Whoever brought it online without the driver would hand out what is not there.
        sys::unload_module("xen_balloon").fails_with(libc::EAGAIN)?;
        check(
            sys::eventually(LONG, || inside::bring_online().unwrap_or(0) > 0),
            "no memory is offline",
        )?;
        reached(most + MORE, LONG)?;
        // With the balloon empty every page is among those in use, sooner or later.
        go(most - MORE)?;
        go(most + MORE)?;
        go(most)?;
        // What was added stays, and is found again.
        std::thread::sleep(NEVER);
        let low_kb = number("info/low_kb")?;
        sys::unload_module("xen_balloon")?;
        let map = fs::read_to_string("/proc/iomem")?;
        drivers::modprobe(&["xen-balloon"]).or_else(fail)?;
        check(
            map.lines()
                .any(|range| range.ends_with(": System RAM (xen)")),
            "the memory that was added has lost its name",
        )?;
        low(low_kb)
    })();
    drop(back);
    xen.set_max_memory(0, info.max_pages * PAGE_KB)?;
    result
}

/// `xl mem-set` again and again, while memory is in use and asked for.
pub(super) fn set_under_load() -> TestResult {
    let back = Back::later()?;
    let rounds = if crate::boot::long() { 100 } else { 1 };
    // As the toolstack leaves it when it first sets the target itself.
    let mut store = Xenstore::open()?;
    store.write("memory/static-max", &back.0.to_string())?;
    store.write("memory/target", &back.0.to_string())?;
    let stop = Path::new("/tmp/balloon-stop");
    let mut load = Vec::new();
    for seed in 1..=2_u64 {
        load.push(sys::Child::fork(move || {
            let pattern = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed);
            while !stop.exists() {
                let words: Vec<u64> = (0..(2 << 20) >> 3).map(pattern).collect();
                let good = |(i, &word): (usize, &u64)| word == pattern(i);
                if !words.iter().enumerate().all(good) {
                    return 1;
                }
            }
            0
        })?);
    }
    let result: TestResult = (0..rounds).try_for_each(|_| {
        for target in [back.0 - 64 * PAGE_KB, back.0] {
            domu::xl(&["mem-set", "0", &format!("{target}k")]).or_fail()?;
            reached(target, LONG)?;
        }
        Ok(())
    });
    fs::write(stop, "")?;
    let ends: Vec<_> = load.iter_mut().map(|child| child.wait_for(LONG)).collect();
    fs::remove_file(stop)?;
    result?;
    check(
        ends.iter().all(|end| *end == Some(Exit::Status(0))),
        format_args!("memory has changed: {ends:?}"),
    )
}

pub(super) fn reload_keeps_the_target() -> TestResult {
    let back = Back::later()?;
    let target = back.0 - 16 * PAGE_KB;
    let low_kb = number("info/low_kb")? + 16 * PAGE_KB;
    // By way of xenstore, which a module that is loaded heeds.
    let mut store = Xenstore::open()?;
    let result = (|| {
        store.write("memory/target", &target.to_string())?;
        reached(target, LONG)?;
        low(low_kb)?;
        for _ in 0..3 {
            sys::unload_module("xen_balloon")?;
            check(!Path::new(ROOT).exists(), "its files are still there")?;
            drivers::modprobe(&["xen-balloon"]).or_else(fail)?;
            equal(number("target_kb")?, target, "the target")?;
            equal(number("info/current_kb")?, target, "what is there")?;
            low(low_kb)?;
        }
        Ok(())
    })();
    store.write("memory/target", &back.0.to_string())?;
    result
}
