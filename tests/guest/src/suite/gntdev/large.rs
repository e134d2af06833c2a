// SPDX-License-Identifier: GPL-2.0

//! Many grants: in one map, on one file.

use std::fs;

use super::{each_grantor, Grantor};
use crate::boot;
use crate::device::Gntdev;
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::scaled;
use crate::sys::{self, PAGE};
use crate::xen::{BareDomain, Kind};

/// How many grants a request may name.
const LIMIT: usize = 1 << 16;
/// How often Xen lets a grant be mapped at least.
const TIMES: usize = 126;

pub fn one_map() -> TestResult {
    let count = if boot::long() { LIMIT } else { scaled(4096) };
    // A PV domain has each mapped twice.
    let times = TIMES / 2;
    let pages = count.div_ceil(times);
    let grantor = Grantor::new(BareDomain::new(Kind::Pvh)?, pages)?;
    let references: Vec<u32> = (0..count).map(|i| grantor.references[i % pages]).collect();
    let file = Gntdev::open()?;
    let (index, memory) = file.map_memory(grantor.id(), &references)?;
    equal(grantor.in_use(), pages, "grants in use")?;
    (0..pages).for_each(|i| memory.write_at(i * PAGE, &(i as u32 + 1)));
    for i in 0..count {
        equal(
            memory.read_at(i * PAGE),
            (i % pages) as u32 + 1,
            "what was written through another mapping of the page",
        )?;
    }
    equal(
        file.offset_of(memory.addr() + (count - 1) * PAGE)?,
        (index, count as u32),
        "offset and count",
    )?;
    // Unmapped in parts, of which one is the middle of a page table.
    memory.unmap_part((count / 2 + 5) * PAGE, (count / 4) * PAGE)?;
    equal(
        memory.read_at((count - 1) * PAGE),
        ((count - 1) % pages) as u32 + 1,
        "a page beyond what was unmapped",
    )?;
    memory.unmap()?;
    file.unmap(index, count as u32)?;
    grantor.released()
}

/// More than 2^31 bytes of offsets: they are neither cut nor negative.
pub fn beyond_31_bits() -> TestResult {
    const MAPS: u64 = 9;
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let many = vec![grantor.references[0]; LIMIT];
        for number in 0..MAPS {
            let index = file.map(grantor.id(), &many)?;
            equal(index, number * (LIMIT * PAGE) as u64, "a map's offset")?;
        }
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        equal(index, MAPS << 28, "the last map's offset")?;
        memory.write_at(9, &3_u8);
        equal(
            grantor.view()?.read_at(9),
            3_u8,
            "what was written through the grant",
        )?;
        equal(
            file.offset_of(memory.addr())?,
            (index, 1),
            "offset and count",
        )?;
        // A map in the middle goes, and its place is taken by another.
        file.unmap(5 << 28, LIMIT as u32)?;
        equal(
            file.map(grantor.id(), &grantor.references)?,
            5 << 28,
            "the offset of a map in the place of another",
        )?;
        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

/// Sets a parameter for as long as the value lives.
struct Parameter(&'static str, String);

impl Parameter {
    fn set(path: &'static str, value: &str) -> TestResult<Self> {
        let before = fs::read_to_string(path)?;
        fs::write(path, value)?;
        Ok(Self(path, before))
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        // It could be written before.
        let _ = fs::write(self.0, self.1.trim());
    }
}

pub fn file_limit() -> TestResult {
    let _limit = Parameter::set("/sys/module/xen_gntdev/parameters/file_limit", "10")?;
    let (file, other) = (Gntdev::open()?, Gntdev::open()?);
    let first = file.map(0, &[8; 6])?;
    file.map(0, &[8; 4])?;
    file.map(0, &[8]).fails_with(libc::ENOSPC)?;
    // Each file has its own.
    other.map(0, &[8; 10])?;
    other.map(0, &[8; 11]).fails_with(libc::ENOSPC)?;
    file.unmap(first, 6)?;
    file.map(0, &[8; 7]).fails_with(libc::ENOSPC)?;
    equal(file.map(0, &[8; 6])?, first, "the offset that was freed")
}

/// Maps come and go on a file by several threads, and each gets its own pages.
pub fn raced() -> TestResult {
    const WORKERS: usize = 4;
    let rounds = if boot::long() { 2000 } else { 12 };
    each_grantor(WORKERS, |grantor| {
        let file = Gntdev::open()?;
        (0..WORKERS).try_for_each(|i| -> TestResult {
            let (_, memory) = file.map_memory(grantor.id(), &grantor.references[i..=i])?;
            memory.write_at(0, &(i as u8 + 1));
            Ok(())
        })?;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|worker| {
                    let (file, grantor) = (&file, &grantor);
                    scope.spawn(move || -> TestResult {
                        for round in 0..rounds {
                            // As many as never fit into the gap that another has left.
                            let count = 1 + (round + worker) % 5;
                            let references = vec![grantor.references[worker]; count];
                            let (index, memory) = file.map_memory(grantor.id(), &references)?;
                            for page in 0..count {
                                equal(
                                    memory.read_at(page * PAGE),
                                    worker as u8 + 1,
                                    "the page that this thread has mapped",
                                )?;
                            }
                            if round % 2 == 0 {
                                file.unmap(index, count as u32)?;
                                memory.unmap()?;
                            } else {
                                memory.unmap()?;
                                file.unmap(index, count as u32)?;
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|w| match w.join() {
                Ok(result) => result,
                Err(_) => crate::ktap::fail("a thread panicked"),
            })
        })?;
        drop(file);
        grantor.released()
    })
}

/// Threads map, unmap and forget one and the same map: one at a time has it, and none two of it.
pub fn raced_for_one_map() -> TestResult {
    let rounds = if boot::long() { 4000 } else { 25 };
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        std::thread::scope(|scope| -> TestResult {
            let workers: Vec<_> = (0..3)
                .map(|worker| {
                    let (file, grantor) = (&file, &grantor);
                    scope.spawn(move || -> TestResult {
                        for _ in 0..rounds {
                            match worker {
                                // Offset 0 is that of the first map, which only this one makes.
                                0 => {
                                    let index = file.map(grantor.id(), &grantor.references)?;
                                    std::thread::yield_now();
                                    file.unmap(index, 2)?;
                                }
                                _ => match file.mmap(0, 2) {
                                    Ok(memory) => memory.write_at(PAGE, &1_u8),
                                    Err(error) => check(
                                        error == sys::Errno(libc::EINVAL),
                                        format_args!("mmap of a map that may be gone: {error}"),
                                    )?,
                                },
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            workers.into_iter().try_for_each(|w| match w.join() {
                Ok(result) => result,
                Err(_) => crate::ktap::fail("a thread panicked"),
            })
        })?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(0, &1_u8);
        drop((memory, file));
        grantor.released()
    })
}
