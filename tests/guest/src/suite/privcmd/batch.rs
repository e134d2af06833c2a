// SPDX-License-Identifier: GPL-2.0

//! MMAPBATCH in both versions.

use std::time::Duration;

use crate::abi::privcmd as abi;
use crate::device::{HypercallBuffer, Privcmd};
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::resources::loses_less_than;
use crate::suite::{each_kind, kill_after, scaled, SOON};
use crate::sys::{self, Child, Errno, Mapping, PAGE};
use crate::xen::{BareDomain, Kind};

/// A frame that no domain of this size has.
const NOWHERE: u64 = 0x00ff_fff0;

/// Writes each page's number into it.
fn number(memory: &Mapping) {
    for (i, offset) in (0..memory.len()).step_by(PAGE).enumerate() {
        memory.write_at(offset, &(i as u64 ^ 0xa5a5));
    }
}

/// The numbers found in pages.
fn numbers(memory: &Mapping) -> Vec<u64> {
    (0..memory.len())
        .step_by(PAGE)
        .map(|offset| memory.read_at::<u64>(offset) ^ 0xa5a5)
        .collect()
}

pub fn maps() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(32)?;
        let file = Privcmd::open()?;
        let memory = file.map_frames(domain.id(), &frames)?;
        number(&memory);
        equal(numbers(&memory), (0..32).collect(), "the pages' numbers")?;
        // In another order by another range: it is the frames that were written to.
        let reversed: Vec<u64> = frames.iter().rev().copied().collect();
        let other = file.map_frames(domain.id(), &reversed)?;
        equal(
            numbers(&other),
            (0..32).rev().collect(),
            "the pages' numbers from the other end",
        )?;
        drop((memory, other));
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn many() -> TestResult {
    // More than any page of addresses or errors holds, and no multiple of it.
    let count = scaled(2600).max(515);
    each_kind(|domain| {
        let frames = domain.populate(count)?;
        let file = Privcmd::open()?;
        let memory = file.map_frames(domain.id(), &frames)?;
        number(&memory);
        equal(
            numbers(&memory),
            (0..count as u64).collect(),
            "the pages' numbers",
        )?;
        drop(memory);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn sees_writes() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(1)?;
        let (one, other) = (Privcmd::open()?, Privcmd::open()?);
        let one = one.map_frames(domain.id(), &frames)?;
        let other = other.map_frames(domain.id(), &frames)?;
        for i in 0..1000_u32 {
            one.write_at(128, &i);
            equal(other.read_at(128), i, "a word seen through another range")?;
        }
        Ok(())
    })
}

pub fn errors() -> TestResult {
    each_kind(|domain| {
        let mut frames = domain.populate(scaled(1100).max(514))?;
        let bad = [3, 511, 512, frames.len() - 1];
        for i in bad {
            frames[i] = NOWHERE + i as u64;
        }
        let file = Privcmd::open()?;
        let range = file.reserve(frames.len())?;
        let mut errors = vec![77; frames.len()];
        file.mmap_batch(domain.id(), range.addr(), &frames, &mut errors)?;
        for (i, error) in errors.iter().enumerate() {
            let sign = if bad.contains(&i) { -1 } else { 0 };
            equal(
                error.signum(),
                sign,
                format_args!("sign of error {error} of frame {i}"),
            )?;
            equal(
                range.readable(i * PAGE),
                sign == 0,
                format_args!("frame {i} can be read"),
            )?;
        }
        drop(range);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn all_errors() -> TestResult {
    each_kind(|domain| {
        let frames: Vec<u64> = (0..scaled(600) as u64).map(|i| NOWHERE + i).collect();
        let file = Privcmd::open()?;
        let range = file.reserve(frames.len())?;
        let mut errors = vec![0; frames.len()];
        file.mmap_batch(domain.id(), range.addr(), &frames, &mut errors)?;
        check(
            errors.iter().all(|&e| e < 0),
            "a frame that does not exist was mapped",
        )?;
        check(
            (0..frames.len()).all(|i| !range.readable(i * PAGE)),
            "a page that was not filled can be read",
        )
    })
}

pub fn exact_range() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(8)?;
        let file = Privcmd::open()?;
        let range = file.reserve(8)?;
        let try_at = |offset: usize, count: usize| {
            let frames: Vec<u64> = frames.iter().cycle().take(count).copied().collect();
            file.mmap_batch(
                domain.id(),
                range.addr() + offset,
                &frames,
                &mut vec![0; count],
            )
        };
        try_at(0, 7).fails_with(libc::EINVAL)?;
        try_at(0, 9).fails_with(libc::EINVAL)?;
        try_at(PAGE, 7).fails_with(libc::EINVAL)?;
        try_at(PAGE, 8).fails_with(libc::EINVAL)?;
        try_at(8, 8).fails_with(libc::EINVAL)?;
        check(!range.readable(0), "a refused call filled a page")?;
        try_at(0, 8)?;
        check(range.readable(7 * PAGE), "the last page is not filled")
    })
}

pub fn foreign_range() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let frames = domain.populate(1)?;
    let file = Privcmd::open()?;
    let anonymous = Mapping::anonymous(PAGE)?;
    anonymous.fill(1);
    let buffer = HypercallBuffer::open()?.pages(1)?;
    let mut places = vec![
        anonymous.addr(),
        buffer.addr(),
        0,
        PAGE,
        usize::MAX & !(PAGE - 1),
    ];
    // Below a range is not in it.
    let range = file.reserve(1)?;
    places.push(range.addr() - PAGE);
    for place in places {
        file.mmap_batch(domain.id(), place, &frames, &mut [0])
            .fails_with(libc::EINVAL)?;
        file.mmap_batch_v1(domain.id(), place, &mut frames.clone())
            .fails_with(libc::EINVAL)?;
    }
    equal(anonymous.read_at::<u8>(0), 1, "a byte of other memory")
}

pub fn refused_numbers() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let range = file.reserve(1)?;
    let frame = [0_u64; 4];
    let mut error = [0_i32; 4];
    let mut v2 = |num: u32| {
        let mut argument = abi::MmapBatchV2 {
            num,
            dom: domain.id(),
            pad: 0,
            addr: range.addr() as u64,
            arr: frame.as_ptr() as u64,
            err: error.as_mut_ptr() as u64,
        };
        sys::ioctl_struct(&file, abi::MMAPBATCH_V2, &mut argument)
    };
    v2(0).fails_with(libc::EINVAL)?;
    let v1 = |num: i32| {
        let mut frame = [0_u64; 4];
        let mut argument = abi::MmapBatch {
            num,
            dom: domain.id(),
            pad: 0,
            addr: range.addr() as u64,
            arr: frame.as_mut_ptr() as u64,
        };
        sys::ioctl_struct(&file, abi::MMAPBATCH, &mut argument)
    };
    v1(0).fails_with(libc::EINVAL)?;
    for num in [-1, i32::MIN] {
        v1(num).fails_with_any(&[libc::EINVAL, libc::EFAULT])?;
    }
    Ok(())
}

pub fn bad_arrays() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(2)?;
        let file = Privcmd::open()?;
        let range = file.reserve(2)?;
        let mut errors = [0; 2];
        let try_with = |arr: u64, err: u64| {
            let addr = range.addr() as u64;
            let mut argument = abi::MmapBatchV2 {
                num: 2,
                dom: domain.id(),
                pad: 0,
                addr,
                arr,
                err,
            };
            sys::ioctl_struct(&file, abi::MMAPBATCH_V2, &mut argument)
        };
        let (arr, err) = (frames.as_ptr() as u64, errors.as_mut_ptr() as u64);
        try_with(8, err).fails_with(libc::EFAULT)?;
        try_with(arr, 8).fails_with(libc::EFAULT)?;
        try_with(u64::MAX - 7, err).fails_with(libc::EFAULT)?;
        // The array ends in memory that is not there.
        let page = Mapping::anonymous(2 * PAGE)?;
        page.write_at(PAGE - 8, &frames[0]);
        page.unmap_part(PAGE, PAGE)?;
        try_with((page.addr() + PAGE - 8) as u64, err).fails_with(libc::EFAULT)?;
        try_with(arr, err)?;
        check(
            range.readable(0) && range.readable(PAGE),
            "the range cannot be read in the end",
        )
    })
}

pub fn retry() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(6)?;
        let file = Privcmd::open()?;
        let whole = file.map_frames(domain.id(), &frames)?;
        number(&whole);
        let range = file.reserve(6)?;
        let mut first = frames.clone();
        for i in [1, 4, 5] {
            first[i] = NOWHERE;
        }
        let mut errors = vec![0; 6];
        file.mmap_batch(domain.id(), range.addr(), &first, &mut errors)?;
        equal(
            range.readable(4 * PAGE),
            false,
            "a page that failed can be read",
        )?;
        // Each comes at its own place, in any order.
        for i in [5, 1, 4] {
            file.mmap_batch(
                domain.id(),
                range.addr() + i * PAGE,
                &frames[i..=i],
                &mut [0],
            )?;
        }
        equal(numbers(&range), (0..6).collect(), "the pages' numbers")?;
        drop((range, whole));
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn retry_filled() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(3)?;
        let file = Privcmd::open()?;
        let range = file.map_frames(domain.id(), &frames)?;
        number(&range);
        for (page, count) in [(0, 1), (2, 1), (0, 3), (1, 2)] {
            let result = file.mmap_batch(
                domain.id(),
                range.addr() + page * PAGE,
                &frames[..count],
                &mut vec![0; count],
            );
            result.fails_with(libc::EINVAL)?;
        }
        // Beyond the range.
        file.mmap_batch(
            domain.id(),
            range.addr() + 2 * PAGE,
            &frames[..2],
            &mut [0; 2],
        )
        .fails_with(libc::EINVAL)?;
        equal(numbers(&range), (0..3).collect(), "the pages' numbers")
    })
}

pub fn no_domain() -> TestResult {
    let file = Privcmd::open()?;
    let range = file.reserve(2)?;
    let mut errors = [0; 2];
    match file.mmap_batch(0x7fe0, range.addr(), &[0x400, 0x401], &mut errors) {
        Ok(()) => check(
            errors.iter().all(|&e| e < 0),
            "a frame of no domain was mapped",
        )?,
        other => other.fails_with(libc::ESRCH)?,
    }
    check(!range.readable(0), "a page of no domain can be read")
}

pub fn v1() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(20)?;
        let file = Privcmd::open()?;
        let range = file.reserve(20)?;
        let mut changed = frames.clone();
        file.mmap_batch_v1(domain.id(), range.addr(), &mut changed)?;
        equal(changed, frames, "the frames, which all are there")?;
        number(&range);
        equal(numbers(&range), (0..20).collect(), "the pages' numbers")
    })
}

pub fn v1_errors() -> TestResult {
    each_kind(|domain| {
        let mut frames = domain.populate(3)?;
        frames[1] = NOWHERE;
        let file = Privcmd::open()?;
        let range = file.reserve(3)?;
        let mut changed = frames.clone();
        file.mmap_batch_v1(domain.id(), range.addr(), &mut changed)?;
        frames[1] |= abi::MFN_ERROR;
        equal(changed, frames, "the frames, one of which is not there")
    })
}

pub fn threads_race() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(scaled(64))?;
        let file = Privcmd::open()?;
        for _ in 0..scaled(20) {
            let range = file.reserve(frames.len())?;
            let fill = || {
                file.mmap_batch(
                    domain.id(),
                    range.addr(),
                    &frames,
                    &mut vec![0; frames.len()],
                )
            };
            let results = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..3).map(|_| scope.spawn(fill)).collect();
                workers
                    .into_iter()
                    .map(|w| w.join().unwrap_or(Err(Errno(libc::EIO))))
                    .collect::<Vec<_>>()
            });
            equal(
                results.iter().filter(|r| r.is_ok()).count(),
                1,
                "callers who filled the range",
            )?;
            let refused =
                |r: &&sys::Result<()>| matches!(r, Err(Errno(libc::EINVAL | libc::EBUSY)));
            let refused = results.iter().filter(refused).count();
            check(refused == 2, format_args!("callers gave {results:?}"))?;
        }
        Ok(())
    })
}

pub fn threads() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(16)?;
        let file = Privcmd::open()?;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| -> TestResult {
                        for _ in 0..scaled(15) {
                            let memory = file.map_frames(domain.id(), &frames)?;
                            check(
                                memory.readable(15 * PAGE),
                                "a page that was filled cannot be read",
                            )?;
                            memory.unmap()?;
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
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn killed() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(scaled(400))?;
        for round in 0..scaled(12).max(4) as u64 {
            let mut child = Child::fork(|| {
                let Ok(file) = Privcmd::open() else { return 1 };
                loop {
                    let Ok(memory) = file.map_frames(domain.id(), &frames) else {
                        return 2;
                    };
                    if round % 2 == 0 {
                        drop(memory);
                    } else {
                        std::mem::forget(memory);
                    }
                }
            })?;
            kill_after(&mut child, Duration::from_millis(7 * round + 3), 2 * SOON)?;
        }
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

pub fn leaks_nothing() -> TestResult {
    each_kind(|domain| {
        let (count, times) = (scaled(100).max(40), scaled(60).max(15));
        let frames = domain.populate(count)?;
        let file = Privcmd::open()?;
        let rounds = |n: usize| -> TestResult {
            for _ in 0..n {
                let memory = file.map_frames(domain.id(), &frames)?;
                check(memory.readable(0), "a page that was filled cannot be read")?;
            }
            Ok(())
        };
        // What is kept ready for the next time is there after a few.
        rounds(2)?;
        // Half of what it would be if the pages stayed.
        loses_less_than((count * times * 2) as u64, || rounds(times))
    })
}
