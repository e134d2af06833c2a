// SPDX-License-Identifier: GPL-2.0

//! All requests at once on one file: by threads, over fork, and killed in the middle.

use std::time::{Duration, Instant};

use super::device_model::Operation;
use super::eventfd::signal;
use crate::abi::privcmd as abi;
use crate::boot;
use crate::device::privcmd::Resource;
use crate::device::Privcmd;
use crate::ktap::{check, equal, fail, TestResult};
use crate::resources::{free_memory, meminfo};
use crate::suite::{each_kind, kill_after, SOON};
use crate::sys::{self, Child, Exit, PAGE};
use crate::xen::{grant, BareDomain, Kind, XEN_VERSION};

/// How long a test goes on with each kind of domain.
fn time() -> Duration {
    if boot::long() {
        Duration::from_secs(30)
    } else {
        Duration::from_millis(700)
    }
}

/// Makes every request that leaves nothing behind, once, on a file that others use.
fn every_request(file: &Privcmd, domain: &BareDomain, frames: &[u64]) -> TestResult {
    let dom = domain.id();
    // SAFETY: XENVER_version takes no address.
    unsafe { file.hypercall(XEN_VERSION, [0; 5]) }?;

    let memory = file.map_frames(dom, frames)?;
    equal(
        memory.read_at::<u64>((frames.len() - 1) * PAGE),
        frames[frames.len() - 1],
        "the number in the last frame",
    )?;
    let range = file.reserve(frames.len())?;
    file.mmap_batch_v1(dom, range.addr(), &mut frames.to_vec())?;
    equal(
        range.read_at::<u64>(0),
        frames[0],
        "the number in the first frame",
    )?;
    memory.unmap()?;

    let table = Resource {
        dom,
        kind: grant::RESOURCE,
        id: 0,
    };
    check(
        file.map_resource(table, 0, 2)?.readable(PAGE),
        "the grant table cannot be read",
    )?;

    if domain.kind() == Kind::Pvh {
        let mut operation = Operation::nr_vcpus();
        file.dm_op_struct(dom, &mut operation)?;
        let eventfd = sys::eventfd()?;
        file.irqfd(dom, &eventfd, &Operation::nr_vcpus().bytes(), 0)?;
        signal(&eventfd)?;
        file.irqfd(dom, &eventfd, &[], abi::DEASSIGN)?;
        // One that nobody takes back.
        file.irqfd(dom, &eventfd, &Operation::nr_vcpus().bytes(), 0)?;
    }
    Ok(())
}

/// Frames with their own numbers in them.
fn numbered(domain: &BareDomain, pages: usize) -> TestResult<Vec<u64>> {
    let frames = domain.populate(pages)?;
    let memory = Privcmd::open()?.map_frames(domain.id(), &frames)?;
    for (i, frame) in frames.iter().enumerate() {
        memory.write_at(i * PAGE, frame);
    }
    Ok(frames)
}

fn repeat(file: &Privcmd, domain: &BareDomain, frames: &[u64], until: Instant) -> TestResult {
    while Instant::now() < until {
        every_request(file, domain, frames)?;
    }
    Ok(())
}

/// Threads, and another process that has the file from its parent.
pub fn threads_and_processes() -> TestResult {
    each_kind(|domain| {
        let frames = numbered(&domain, 12)?;
        let file = Privcmd::open()?;
        let until = Instant::now() + time();
        let child = Child::fork(|| match repeat(&file, &domain, &frames, until) {
            Ok(()) => 0,
            Err(failure) => {
                println!("# {failure:?}");
                1
            }
        })?;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| repeat(&file, &domain, &frames, until)))
                .collect();
            workers.into_iter().try_for_each(|w| match w.join() {
                Ok(result) => result,
                Err(_) => fail("a thread panicked"),
            })
        })?;
        equal(child.wait(), Exit::Status(0), "the other process' end")?;
        // The file is as good as before.
        every_request(&file, &domain, &frames)?;
        drop(file);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

/// Threads that share a file die together, in the midst of whatever each is doing.
pub fn killed() -> TestResult {
    each_kind(|domain| {
        let frames = numbered(&domain, 12)?;
        let until = Instant::now() + time();
        let mut round = 0;
        while round < 6 || Instant::now() < until {
            let mut child = Child::fork(|| {
                let Ok(file) = Privcmd::open() else { return 1 };
                let forever = Instant::now() + Duration::from_secs(1 << 20);
                std::thread::scope(|scope| {
                    for _ in 0..3 {
                        scope.spawn(|| repeat(&file, &domain, &frames, forever));
                    }
                });
                2
            })?;
            kill_after(
                &mut child,
                Duration::from_millis(5 + 13 * (round % 7)),
                SOON,
            )?;
            round += 1;
        }
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

/// A request that would take very long takes no memory for that, is over soon after its caller is killed, and leaves
/// nothing.
pub fn long_request_killed() -> TestResult {
    /// A frame that no domain of this size has: Xen has to be asked about each.
    const NOWHERE: u64 = 0x00ff_fff0;
    const FRAMES: usize = 1 << 20;
    /// What the driver may take, in KiB. A copy of the frames' numbers would be twice as much.
    const LITTLE: u64 = 4096;

    let frames = vec![NOWHERE; FRAMES];
    // Where zeroes would be pages that are not there yet.
    let errors = vec![1; FRAMES];
    each_kind(|domain| {
        let file = Privcmd::open()?;
        // The pool of pages grows by more than is asked for.
        let few = file.reserve(1000)?;
        file.mmap_batch(domain.id(), few.addr(), &frames[..1000], &mut vec![0; 1000])?;
        few.unmap()?;

        let (begun, begins) = sys::pipe()?;
        let mut errors = errors.clone();
        let mut child = Child::fork(|| {
            errors.fill(2);
            let Ok(range) = file.reserve(frames.len()) else {
                return 1;
            };
            let _ = sys::write(&begins, &[1]);
            match file.mmap_batch(domain.id(), range.addr(), &frames, &mut errors) {
                Ok(()) => 2,
                Err(error) => error.0,
            }
        })?;
        sys::read(&begun, &mut [0])?;
        let before = taken_by_the_kernel();
        equal(
            child.wait_for(Duration::from_millis(300)),
            None,
            "the child's end before it is killed",
        )?;
        let taken = taken_by_the_kernel().saturating_sub(before);
        child.kill(libc::SIGKILL);
        let killed = Instant::now();
        equal(
            child.wait_for(SOON),
            Some(Exit::Signal(libc::SIGKILL)),
            "the child's end",
        )?;
        let took = killed.elapsed();
        check(
            took < Duration::from_secs(3),
            format_args!("the call went on for {} ms", took.as_millis()),
        )?;
        check(
            taken < LITTLE,
            format_args!("the kernel took {taken} KiB for the call"),
        )?;
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

/// Memory that is in use, and is neither a process's nor its page tables', in KiB.
fn taken_by_the_kernel() -> u64 {
    let of = |field| meminfo(field).unwrap_or(0);
    of("MemTotal").saturating_sub(free_memory() + of("AnonPages") + of("PageTables"))
}
