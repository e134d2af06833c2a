// SPDX-License-Identifier: GPL-2.0

//! Pages of grants that somebody else has: a pipe, direct I/O, whoever reads another process' memory.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::each_grantor;
use crate::boot;
use crate::device::Gntdev;
use crate::ktap::{check, equal, fail, skip, TestResult};
use crate::resources::{module_uses, KernelLog};
use crate::suite::{kill, kill_after, scaled, NEVER, SOON};
use crate::sys::{self, Child, Disk, Mapping, PAGE};
use crate::xen::Kind;

/// Puts a mapped page into a pipe, which then holds it.
pub(super) fn hold(memory: &Mapping, page: usize) -> TestResult<(OwnedFd, OwnedFd)> {
    let (read, write) = sys::pipe()?;
    match sys::splice_memory(&write, memory, page * PAGE, PAGE) {
        Ok(n) => equal(n, PAGE, "bytes put into the pipe")?,
        Err(error) => return skip(format_args!("mapped grants cannot be pinned here: {error}")),
    }
    Ok((read, write))
}

pub fn released_later() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.fill(0x77);
        let (read, _write) = hold(&memory, 0)?;
        memory.unmap()?;
        drop(file);
        std::thread::sleep(NEVER);
        equal(
            grantor.in_use(),
            1,
            "grants in use while the pipe has the page",
        )?;
        let mut buffer = [0; PAGE];
        equal(sys::read(&read, &mut buffer)?, PAGE, "bytes in the pipe")?;
        check(
            buffer.iter().all(|&b| b == 0x77),
            "the pipe has other bytes than the page",
        )?;
        drop(read);
        check(
            sys::eventually(2 * SOON, || grantor.in_use() == 0),
            "the grant is in use after the pipe is gone",
        )
    })
}

pub fn delays_only_itself() -> TestResult {
    each_grantor(6, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.fill(0x66);
        let pipe = hold(&memory, 3)?;
        // In parts: each is for itself.
        for part in [0..2, 2..3, 3..4, 4..6] {
            memory.unmap_part(part.start * PAGE, part.len() * PAGE)?;
        }
        check(
            sys::eventually(SOON, || grantor.in_use() == 1),
            "other grants wait for the one that is held",
        )?;
        check(
            grantor.table.in_use(grantor.references[3]),
            "the grant that is held was released",
        )?;
        drop(pipe);
        check(
            sys::eventually(2 * SOON, || grantor.in_use() == 0),
            "the grant is in use after the pipe is gone",
        )
    })
}

/// Nothing can be touched any more where it was, but who has the page keeps it, and it alone.
pub fn discarded() -> TestResult {
    each_grantor(4, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.fill(0x44);
        let (read, _write) = hold(&memory, 1)?;
        memory.advise(libc::MADV_DONTNEED)?;
        check(!memory.readable(PAGE), "what was discarded can be read")?;
        let left = if crate::boot::kind() == Some(Kind::Pv) {
            1
        } else {
            4
        };
        check(
            sys::eventually(SOON, || grantor.in_use() == left),
            "other grants wait for the one that is held",
        )?;
        std::thread::sleep(NEVER);
        equal(grantor.in_use(), left, "grants in use")?;
        check(
            grantor.table.in_use(grantor.references[1]),
            "the grant that is held was released",
        )?;
        let mut buffer = [0; PAGE];
        equal(sys::read(&read, &mut buffer)?, PAGE, "bytes in the pipe")?;
        check(
            buffer.iter().all(|&b| b == 0x44),
            "the pipe has other bytes than the page",
        )?;
        drop(read);
        // The mapping is still there.
        if left == 1 {
            check(
                sys::eventually(SOON, || grantor.in_use() == 0),
                "the grant is in use after the pipe is gone",
            )?;
        }
        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

/// Pages are discarded while others get hold of them by their addresses.
pub fn discarded_while_read() -> TestResult {
    const PAGES: usize = 8;
    each_grantor(PAGES, |grantor| {
        let file = Gntdev::open()?;
        let (start, slowness) = (Instant::now(), boot::slowness());
        let time = Duration::from_millis(if boot::long() { 30_000 } else { 700 }) * slowness;
        let (done, at) = (AtomicBool::new(false), AtomicUsize::new(0));
        let read = AtomicUsize::new(0);
        std::thread::scope(|scope| -> TestResult {
            let reader = scope.spawn(|| {
                let mut buffer = [0; PAGE];
                let mut wrong = 0;
                while !done.load(Ordering::Relaxed) {
                    let mapped = at.load(Ordering::SeqCst);
                    for page in 0..PAGES {
                        let addr = mapped / PAGE * PAGE + page * PAGE;
                        let result = sys::read_own_memory(addr, &mut buffer);
                        // Unless it may have been something else that came to be there.
                        if result == Ok(PAGE) && at.load(Ordering::SeqCst) == mapped {
                            read.fetch_add(1, Ordering::Relaxed);
                            wrong += buffer.iter().filter(|&&byte| byte != 0x33).count();
                        }
                    }
                }
                wrong
            });
            let discard = || -> TestResult {
                let mut round = 0;
                // On a busy machine the reader may take its time before it reads anything.
                let idle =
                    || read.load(Ordering::Relaxed) == 0 && start.elapsed() < SOON * slowness;
                while start.elapsed() < time || idle() {
                    let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
                    memory.fill(0x33);
                    // Each with a number of its own, as addresses are used again.
                    round = round % (PAGE - 1) + 1;
                    at.store(memory.addr() + round, Ordering::SeqCst);
                    // In the middle of what the reader does, rather than before it has begun.
                    let before = read.load(Ordering::Relaxed);
                    sys::eventually(Duration::from_millis(20) * slowness, || {
                        read.load(Ordering::Relaxed) > before
                    });
                    for page in (0..PAGES).rev() {
                        memory.advise_part(page * PAGE, PAGE, libc::MADV_DONTNEED)?;
                    }
                    at.store(0, Ordering::SeqCst);
                    memory.unmap()?;
                    file.unmap(index, PAGES as u32)?;
                }
                Ok(())
            };
            let result = discard();
            done.store(true, Ordering::Relaxed);
            match reader.join() {
                Ok(wrong) => equal(wrong, 0, "bytes that were never in the pages")?,
                Err(_) => return fail("the reader panicked"),
            }
            result
        })?;
        check(read.into_inner() > 0, "no page was ever found")?;
        drop(file);
        grantor.released()
    })
}

/// A process dies that had given a page away: the page stays, and no other.
pub fn outlives_process() -> TestResult {
    each_grantor(6, |grantor| {
        let uses = || module_uses("xen_gntdev").unwrap_or(0);
        let before = uses();
        // That takes a while.
        let log = if boot::long() {
            Some(KernelLog::from_now()?)
        } else {
            None
        };
        let (read, write) = sys::pipe()?;
        let (ready_read, ready_write) = sys::pipe()?;
        let mut child = Child::fork(|| {
            let done = (|| -> sys::Result<(Gntdev, Mapping)> {
                let file = Gntdev::open()?;
                let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
                memory.fill(0x21);
                sys::splice_memory(&write, &memory, 4 * PAGE, PAGE)?;
                Ok((file, memory))
            })();
            let _ = sys::write(&ready_write, &[u8::from(done.is_ok())]);
            loop {
                std::thread::sleep(SOON);
            }
        })?;
        let mut said = [0];
        sys::read(&ready_read, &mut said)?;
        if said == [0] {
            return skip("mapped grants cannot be pinned here");
        }
        kill(&mut child, SOON)?;
        check(
            sys::eventually(SOON, || grantor.in_use() == 1),
            "other grants wait for the one that is held",
        )?;
        check(
            grantor.table.in_use(grantor.references[4]),
            "the grant that is held was released",
        )?;
        // Nobody has the device open, but the module must not go.
        check(
            uses() > before,
            "the module is not used by the page that waits",
        )?;
        if let Some(log) = log {
            let told = || log.new_lines().iter().any(|line| line.contains("stays"));
            check(
                sys::eventually(3 * SOON, told),
                "the log does not tell why the module stays",
            )?;
        }
        let mut buffer = [0; PAGE];
        equal(sys::read(&read, &mut buffer)?, PAGE, "bytes in the pipe")?;
        check(
            buffer.iter().all(|&b| b == 0x21),
            "the pipe has other bytes than the page",
        )?;
        drop((read, write));
        grantor.released()?;
        check(
            sys::eventually(SOON, || uses() == before),
            "the module is still used",
        )
    })
}

/// The disk's driver reads into and writes from the other domain's pages.
pub fn direct_io() -> TestResult {
    const PAGES: usize = 5;
    each_grantor(PAGES, |grantor| {
        let disk = Disk::new(4 * PAGES * PAGE)?;
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        (0..PAGES).for_each(|i| memory.write_at(i * PAGE + 7, &(i as u8 + 1)));
        if let Err(error) = disk.write(&memory, 0, PAGES * PAGE, 2 * PAGE) {
            return skip(format_args!("no direct I/O with mapped grants: {error}"));
        }
        memory.fill(0);
        disk.read(&memory, PAGE, 3 * PAGE, 3 * PAGE)?;
        for i in 0..3 {
            equal(
                view.read_at((i + 1) * PAGE + 7),
                i as u8 + 2,
                "what was read into a grant",
            )?;
        }
        equal(view.read_at(7), 0_u8, "a page that was not read into")?;
        memory.unmap()?;
        drop((file, view));
        grantor.released()
    })
}

/// Grants are unmapped, and their process killed, in the middle of direct I/O.
pub fn direct_io_killed() -> TestResult {
    const PAGES: usize = 16;
    each_grantor(PAGES, |grantor| {
        let disk = Disk::new(PAGES * PAGE)?;
        let rounds = if boot::long() { 200 } else { scaled(16) };
        for round in 0..rounds as u64 {
            let mut child = Child::fork(|| {
                let (Ok(file), Ok(place)) = (Gntdev::open(), Mapping::anonymous(PAGES * PAGE))
                else {
                    return 1;
                };
                std::thread::scope(|scope| {
                    for part in 0..2 {
                        let (place, disk) = (&place, &disk);
                        // Into whatever is there just now.
                        scope.spawn(move || loop {
                            let _ = disk.read(place, part * 8 * PAGE, 8 * PAGE, 0);
                        });
                    }
                    loop {
                        let Ok(index) = file.map(grantor.id(), &grantor.references) else {
                            return 2;
                        };
                        if place.replace(0, PAGES * PAGE, &file, index).is_err() {
                            return 3;
                        }
                        let parts = (0..4).try_for_each(|i| place.clear(i * 4 * PAGE, PAGE));
                        let rest = place.clear(0, PAGES * PAGE);
                        if parts.and(rest).is_err() || file.unmap(index, PAGES as u32).is_err() {
                            return 4;
                        }
                    }
                })
            })?;
            kill_after(
                &mut child,
                Duration::from_millis(11 + 7 * (round % 8)),
                2 * SOON,
            )?;
        }
        grantor.released()
    })
}
