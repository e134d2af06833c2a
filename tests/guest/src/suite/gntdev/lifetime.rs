// SPDX-License-Identifier: GPL-2.0

//! How long a grant stays mapped.

use std::time::Duration;

use super::each_grantor;
use crate::boot;
use crate::device::Gntdev;
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::resources::loses_less_than;
use crate::suite::{kill_after, scaled, NEVER, SOON};
use crate::sys::{self, Child, Exit, PAGE};

pub fn partial_munmap() -> TestResult {
    each_grantor(9, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        (0..9).for_each(|i| memory.write_at(i * PAGE, &(i as u8 + 1)));
        let mut left = 9;
        for i in [4, 0, 8, 5] {
            memory.unmap_part(i * PAGE, PAGE)?;
            left -= 1;
            check(
                sys::eventually(SOON, || grantor.in_use() == left),
                "the grant of an unmapped page is in use",
            )?;
            check(
                !grantor.table.in_use(grantor.references[i]),
                "another grant was released",
            )?;
        }
        for i in [1, 2, 3, 6, 7] {
            equal(
                memory.read_at(i * PAGE),
                i as u8 + 1,
                "a page beside an unmapped one",
            )?;
        }
        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

pub fn fork_pv() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        let child = Child::fork(|| i32::from(memory.readable(0)))?;
        equal(
            child.wait(),
            Exit::Status(0),
            "the child can read the parent's grants",
        )?;
        memory.write_at(PAGE, &1_u8);
        equal(grantor.in_use(), 2, "grants in use")
    })
}

pub fn fork_translated() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(PAGE, &1_u8);
        let (read, write) = sys::pipe()?;
        let mut child = Child::fork(|| {
            let _ = sys::read(&read, &mut [0]);
            i32::from(memory.read_at::<u8>(PAGE) != 1)
        })?;
        memory.unmap()?;
        drop(file);
        std::thread::sleep(NEVER);
        equal(grantor.in_use(), 2, "grants in use by the child")?;
        sys::write(&write, &[0])?;
        equal(
            child.wait_for(SOON),
            Some(Exit::Status(0)),
            "the child's end",
        )?;
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "grants are in use after the child's end",
        )
    })
}

pub fn outlives_file() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        drop(file);
        memory.write_at(PAGE, &1_u8);
        equal(memory.read_at(PAGE), 1_u8, "what was written")?;
        equal(grantor.in_use(), 2, "grants in use")?;
        memory.unmap()?;
        grantor.released()
    })
}

pub fn outlives_domain() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(0, &3_u8);
        let (id, xen) = (grantor.id(), crate::xen::Xen::open()?);
        drop(grantor);
        equal(memory.read_at(0), 3_u8, "what was written")?;
        check(
            xen.domain_info(id)?.is_dying(),
            "the domain went while its grants were mapped",
        )?;
        memory.unmap()?;
        drop(file);
        let gone = sys::eventually(SOON, || xen.domain_info(id).map(|i| i.domain) != Ok(id));
        check(gone, "pages are still held")
    })
}

pub fn not_resized() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, mut memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.remap(4 * PAGE).fails_with(libc::EFAULT)?;
        memory.write_at(PAGE, &1_u8);
        equal(grantor.in_use(), 2, "grants in use")
    })
}

pub fn moved() -> TestResult {
    each_grantor(4, |grantor| {
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let (_, mut memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(3 * PAGE, &8_u8);
        let old = memory.addr();
        // Moved or refused: in either case there is one place, and it is the grantor's pages.
        if memory.move_away().is_ok() {
            check(!sys::probe(old), "the old place can still be read")?;
        }
        if memory.readable(3 * PAGE) {
            equal(memory.read_at(3 * PAGE), 8_u8, "what was written")?;
            memory.write_at(0, &9_u8);
            equal(view.read_at(0), 9_u8, "what was written through the grant")?;
        }
        memory.unmap()?;
        drop((file, view));
        grantor.released()
    })
}

pub fn moved_not_pv() -> TestResult {
    each_grantor(3, |grantor| {
        let file = Gntdev::open()?;
        let (index, mut memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(2 * PAGE, &8_u8);
        for _ in 0..2 {
            memory.move_away().fails_with(libc::EINVAL)?;
            equal(memory.read_at(2 * PAGE), 8_u8, "the page where it was")?;
        }
        equal(
            file.offset_of(memory.addr() + PAGE)?,
            (index, 3),
            "offset and count",
        )?;
        // What is left of it is as before.
        memory.unmap_part(0, PAGE)?;
        memory.write_at(PAGE, &9_u8);
        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

pub fn protected_not_pv() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(PAGE, &8_u8);
        for protection in [libc::PROT_READ, libc::PROT_NONE] {
            memory.protect(protection).fails_with(libc::EINVAL)?;
        }
        memory.write_at(0, &9_u8);
        equal(
            memory.read_at(PAGE),
            8_u8,
            "a page that was to be protected",
        )?;
        equal(grantor.in_use(), 2, "grants in use")
    })
}

pub fn protected_same() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(PAGE, &8_u8);
        memory.protect(libc::PROT_READ | libc::PROT_WRITE)?;
        memory.write_at(0, &9_u8);
        equal(memory.read_at(PAGE), 8_u8, "a page as it was")
    })
}

pub fn discarded() -> TestResult {
    each_grantor(3, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        // Allowed or not, nothing may break, and nothing stay behind.
        let _ = memory.advise(libc::MADV_DONTNEED);
        let _ = memory.readable(PAGE);
        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

pub fn killed() -> TestResult {
    let pages = scaled(200);
    each_grantor(pages, |grantor| {
        for round in 0..scaled(12).max(4) as u64 {
            let mut child = Child::fork(|| {
                let Ok(file) = Gntdev::open() else { return 1 };
                loop {
                    let Ok((index, memory)) = file.map_memory(grantor.id(), &grantor.references)
                    else {
                        return 2;
                    };
                    if round % 2 == 0 {
                        let _ = file.unmap(index, pages as u32);
                        let _ = memory.unmap_part(5 * PAGE, 10 * PAGE);
                    }
                }
            })?;
            kill_after(&mut child, Duration::from_millis(7 * round + 3), 2 * SOON)?;
        }
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "grants are in use after the end of all",
        )
    })
}

pub fn threads() -> TestResult {
    each_grantor(16, |grantor| {
        let file = Gntdev::open()?;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| {
                    let (file, grantor) = (&file, &grantor);
                    scope.spawn(move || -> TestResult {
                        for _ in 0..if boot::long() { 500 } else { scaled(8) } {
                            let references = &grantor.references[worker * 4..worker * 4 + 4];
                            let (index, memory) = file.map_memory(grantor.id(), references)?;
                            memory.write_at(3 * PAGE, &(worker as u8));
                            equal(
                                memory.read_at(3 * PAGE),
                                worker as u8,
                                "what this thread wrote",
                            )?;
                            memory.unmap()?;
                            file.unmap(index, 4)?;
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

pub fn leaks_nothing() -> TestResult {
    each_grantor(64, |grantor| {
        let times = scaled(50);
        let rounds = |n: usize| -> TestResult {
            for _ in 0..n {
                let file = Gntdev::open()?;
                let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
                memory.write_at(0, &1_u8);
            }
            Ok(())
        };
        rounds(2)?;
        // Half of what it would be if the pages behind the grants stayed.
        loses_less_than((64 * times * 2) as u64, || {
            rounds(times)?;
            sys::eventually(SOON, || grantor.in_use() == 0);
            Ok(())
        })
    })
}
