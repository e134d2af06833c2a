// SPDX-License-Identifier: GPL-2.0

//! What the driver tells of itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;

use super::each_grantor;
use super::pinned::hold;
use crate::device::Gntdev;
use crate::ktap::{check, equal, TestResult};
use crate::suite::SOON;
use crate::sys::{self, PAGE};

/// Numbers by their names, from lines of both.
fn numbers(path: &str, separator: char) -> TestResult<BTreeMap<String, usize>> {
    Ok(fs::read_to_string(path)?
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(separator)?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        })
        .collect())
}

fn fdinfo(file: &Gntdev) -> TestResult<BTreeMap<String, usize>> {
    let mut all = numbers(&format!("/proc/self/fdinfo/{}", file.as_raw_fd()), ':')?;
    all.retain(|name, _| name.starts_with("gntdev-"));
    Ok(all)
}

fn expect(found: BTreeMap<String, usize>, expected: &[(String, usize)]) -> TestResult {
    let expected = expected.iter().cloned().collect();
    equal(found, expected, "what fdinfo tells")
}

fn lines(maps: usize, grants: usize, mapped: usize, waiting: usize) -> Vec<(String, usize)> {
    let named = |name: &str, value| (format!("gntdev-{name}"), value);
    vec![
        named("maps", maps),
        named("grants", grants),
        named("mapped", mapped),
        named("waiting", waiting),
    ]
}

pub fn of_a_file() -> TestResult {
    each_grantor(5, |grantor| {
        let file = Gntdev::open()?;
        let of = |domain: u16, grants| (format!("gntdev-domain-{domain}"), grants);
        expect(fdinfo(&file)?, &lines(0, 0, 0, 0))?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        let other = file.map(0, &[8, 9])?;
        let mut expected = lines(2, 7, 5, 0);
        expected.extend([of(grantor.id(), 5), of(0, 2)]);
        expect(fdinfo(&file)?, &expected)?;

        file.unmap(other, 2)?;
        memory.unmap_part(0, PAGE)?;
        memory.unmap_part(3 * PAGE, PAGE)?;
        file.restrict(grantor.id())?;
        // In a translated domain a part goes alone, too, as there is no copy of the mapping.
        let mut expected = lines(1, 5, 3, 0);
        expected.push(of(grantor.id(), 5));
        expected.push(("gntdev-restricted".into(), grantor.id().into()));
        let told = || fdinfo(&file).is_ok_and(|found| found["gntdev-waiting"] == 0);
        check(sys::eventually(SOON, told), "grants wait for nothing")?;
        expect(fdinfo(&file)?, &expected)?;

        memory.unmap()?;
        drop(file);
        grantor.released()
    })
}

pub fn of_what_waits() -> TestResult {
    each_grantor(3, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        let pipe = hold(&memory, 1)?;
        memory.unmap()?;
        let told = |mapped, waiting| {
            sys::eventually(SOON, || {
                fdinfo(&file).is_ok_and(|found| {
                    found["gntdev-mapped"] == mapped && found["gntdev-waiting"] == waiting
                })
            })
        };
        check(told(1, 1), "the page that is held is not told of")?;
        drop(pipe);
        check(told(0, 0), "a page that is held no more is told of")
    })
}

/// The same for all files together.
pub fn of_the_system() -> TestResult {
    const GRANTS: &str = "/sys/kernel/debug/xen_gntdev/grants";
    const CALLS: &str = "/sys/kernel/debug/xen_gntdev/calls";
    each_grantor(4, |grantor| {
        let (before, calls) = (numbers(GRANTS, ' ')?, numbers(CALLS, ' ')?);
        let more =
            |name: &str| -> TestResult<usize> { Ok(numbers(GRANTS, ' ')?[name] - before[name]) };
        let files = [Gntdev::open()?, Gntdev::open()?];
        let (_, memory) = files[0].map_memory(grantor.id(), &grantor.references)?;
        files[1].map(0, &[8; 3])?;
        equal(more("maps")?, 2, "maps")?;
        equal(more("grants")?, 7, "grants")?;
        equal(more("mapped")?, 4, "grants that are mapped")?;
        let pipe = hold(&memory, 0)?;
        memory.unmap()?;
        check(
            sys::eventually(SOON, || more("waiting").is_ok_and(|n| n == 1)),
            "the page that is held is not told of",
        )?;
        drop((pipe, files));
        check(
            sys::eventually(SOON, || numbers(GRANTS, ' ').is_ok_and(|now| now == before)),
            "something is told of when all is gone",
        )?;
        let after = numbers(CALLS, ' ')?;
        for (call, times) in [("open", 2), ("mmap", 1), ("map_grant_ref", 2)] {
            check(
                after[call] >= calls[call] + times,
                format_args!("calls of {call} are not counted"),
            )?;
        }
        Ok(())
    })
}
