// SPDX-License-Identifier: GPL-2.0

//! Memory of a guest that runs.

use std::time::Duration;

use crate::boot;
use crate::device::privcmd::Resource;
use crate::device::Privcmd;
use crate::domu::Agent;
use crate::ktap::{check, equal, TestResult};
use crate::suite::guests::{ask, granted, tell};
use crate::suite::privcmd::legacy::entries;
use crate::suite::{kill_after, SOON};
use crate::sys::{Child, Exit, Mapping, PAGE};
use crate::xen::{grant, Kind};

/// An entry of the grant table: its length, and where in it the frame is, after two numbers of 16 bits.
const ENTRY: usize = 8;
const FRAME: usize = 4;
const ACCESS: u16 = 1;

/// The frames behind grants, as their owner's grant table has them.
pub(in crate::suite) fn frames_of(
    file: &Privcmd,
    dom: u16,
    references: &[u32],
) -> TestResult<Vec<u64>> {
    let table = Resource {
        dom,
        kind: grant::RESOURCE,
        id: 0,
    };
    let entries = PAGE / ENTRY;
    let mut frames = Vec::new();
    for &reference in references {
        let (page, index) = (reference as usize / entries, reference as usize % entries);
        let page = file.map_resource(table, page as u32, 1)?;
        let entry = index * ENTRY;
        equal(
            page.read_at::<u16>(entry) & 3,
            ACCESS,
            "the kind of a grant that was just made",
        )?;
        equal(page.read_at::<u16>(entry + 2), 0, "whom the grant is for")?;
        frames.push(page.read_at::<u32>(entry + FRAME).into());
    }
    Ok(frames)
}

/// What is written to each page here the guest sees, and the other way around.
fn shared(agent: &mut Agent, grants: usize, memory: &Mapping, first: u8) -> TestResult {
    for (i, offset) in (0..memory.len()).step_by(PAGE).enumerate() {
        let byte = first + i as u8;
        memory.write_at(offset + 100, &byte);
        equal(
            ask::<u8>(agent, &format!("byte {grants} {}", offset + 100))?,
            byte,
            "what the guest finds in its memory",
        )?;
        tell(agent, &format!("set {grants} {} {byte}", offset + 200))?;
        equal(
            memory.read_at(offset + 200),
            byte,
            "what the guest has written",
        )?;
    }
    Ok(())
}

/// Maps a guest's memory in every way there is, see [`crate::suite::guests`].
pub fn mapped(agent: &mut Agent, id: u16) -> TestResult {
    const PAGES: usize = 3;

    let (grants, references) = granted(agent, PAGES, "rw", 0x21)?;
    let file = Privcmd::open()?;
    let frames = frames_of(&file, id, &references)?;

    let memory = file.map_frames(id, &frames)?;
    for offset in (0..memory.len()).step_by(PAGE) {
        equal(
            memory.read_at(offset),
            0x21_u8,
            "what the guest filled its memory with",
        )?;
    }
    shared(agent, grants, &memory, 10)?;

    let range = file.reserve(PAGES)?;
    file.mmap_batch_v1(id, range.addr(), &mut frames.clone())?;
    shared(agent, grants, &range, 20)?;
    if boot::kind() == Some(Kind::Pv) {
        let range = file.reserve(PAGES)?;
        file.mmap(id, &entries(range.addr(), &frames))?;
        shared(agent, grants, &range, 30)?;
    }

    // Over fork the range stays here, and the file can be used there.
    let child = Child::fork(|| match file.map_frames(id, &frames) {
        Ok(memory) => memory.read_at::<u8>(100).into(),
        Err(error) => -error.0,
    })?;
    let first: u8 = memory.read_at(100);
    equal(
        child.wait(),
        Exit::Status(first.into()),
        "what the child found",
    )?;
    check(memory.readable(0), "the range went with the child")?;

    // Killed in mid-call, with ranges of every age.
    for round in 0..8 {
        let mut child = Child::fork(|| loop {
            match file.map_frames(id, &frames) {
                Ok(memory) if round % 2 == 0 => drop(memory),
                Ok(memory) => std::mem::forget(memory),
                Err(_) => return 1,
            }
        })?;
        kill_after(&mut child, Duration::from_millis(3 + 5 * round), SOON)?;
    }
    shared(agent, grants, &memory, 50)?;
    memory.unmap()?;
    tell(agent, &format!("revoke {grants}"))?;
    check(range.readable(0), "a page went while it was mapped")
}
