// SPDX-License-Identifier: GPL-2.0

//! Event channels and grants with a guest that runs at the other side.

use std::time::Instant;

use super::gntdev::copy;
use super::{balloon, privcmd, xenfs, NEVER, SOON};
use crate::abi::gntdev::{GNTST_OKAY, NOTIFY_SEND_EVENT};
use crate::abi::DOMID_SELF;
use crate::boot;
use crate::device::{Evtchn, Gntdev};
use crate::domu::{self, Agent, Guest};
use crate::interrupts::Interrupts;
use crate::ktap::{check, equal, fail, line, skip, OrFail, Suite, Test, TestResult};
use crate::sys::{self, Mapping, PAGE};
use crate::vchan::{self, Place};
use crate::xen::event::Status;
use crate::xen::{Kind, Xen};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "guests",
    tests: &[
        Test::new("pv", pv).seconds(900),
        Test::new("pvh", pvh).long_in(Kind::Pvh).seconds(900),
    ],
};

fn pv() -> TestResult {
    with_guest(Kind::Pv)
}

fn pvh() -> TestResult {
    with_guest(Kind::Pvh)
}

/// A guest takes seconds to boot, so one serves for all.
fn with_guest(kind: Kind) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let mut guest = Guest::new(kind).files(vchan::FOLDER, vchan::programs().or_fail()?);
    if kind == Kind::Pv {
        guest = guest.maximum(balloon::MAXIMUM);
    }
    let guest = guest.create().or_fail()?;
    let id = guest.id();
    let mut agent = guest.agent().or_fail()?;
    channels(&mut agent, id)?;
    storm(&mut agent, id)?;
    restricted(&mut agent, id)?;
    grants(&mut agent, id)?;
    copies(&mut agent, id)?;
    revoked_while_mapped(&mut agent, id)?;
    balloon::in_guest(&mut agent, &guest)?;
    xenfs::in_guest(&mut agent)?;
    privcmd::foreign::mapped(&mut agent, id)?;
    // What a guest's kernel does there hardly depends on its kind, and a paravirtual one is faster.
    if kind == Kind::Pv || boot::long() {
        privcmd::domu::in_guest(&mut agent, id, kind)?;
        proxied(&mut agent, id, kind)?;
    }
    // In the end it goes while everything is in use.
    let events = Evtchn::open_nonblocking()?;
    let (port, _) = channel(&mut agent, &events, id)?;
    let (_, references) = granted(&mut agent, 4, "rw", 9)?;
    let file = Gntdev::open()?;
    let (index, memory) = file.map_memory(id, &references)?;
    file.notify_unmap(index, NOTIFY_SEND_EVENT, port)?;
    domu::xl(&["destroy", guest.name()]).or_fail()?;
    equal(
        memory.read_at(3 * PAGE),
        9_u8,
        "a page of a guest that is gone",
    )?;
    events.drain()?;
    equal(
        Xen::open()?.port_status(DOMID_SELF, port)?,
        Status::Unbound(id),
        "its channel",
    )?;
    drop((memory, file, events));
    check(domu::gone(guest.name()), "the guest's pages are still held")
}

pub(super) fn ask<T: std::str::FromStr>(agent: &mut Agent, request: &str) -> TestResult<T> {
    let answer = agent.call(request).or_fail()?;
    answer
        .trim()
        .parse()
        .or_else(|_| fail(format_args!("{request}: {answer:?}")))
}

pub(super) fn tell(agent: &mut Agent, request: &str) -> TestResult {
    agent.call(request).map(drop).or_fail()
}

/// A channel that the guest offered: (this end, the guest's).
pub(super) fn channel(agent: &mut Agent, events: &Evtchn, id: u16) -> TestResult<(u32, u32)> {
    let theirs = ask(agent, "unbound")?;
    let ours = events.bind_interdomain(id.into(), theirs)?;
    Ok((ours, theirs))
}

/// Grants of the guest: (their number there, the references).
pub(super) fn granted(
    agent: &mut Agent,
    count: usize,
    mode: &str,
    byte: u8,
) -> TestResult<(usize, Vec<u32>)> {
    let answer = agent
        .call(&format!("grant {count} {mode} {byte}"))
        .or_fail()?;
    let mut words = answer.split_whitespace().map(str::parse);
    match (words.next(), words.collect::<Result<Vec<u32>, _>>()) {
        (Some(Ok(number)), Ok(references)) if references.len() == count => {
            Ok((number as usize, references))
        }
        _ => fail(format_args!("not grants: {answer:?}")),
    }
}

/// Channels between the guest and this domain.
pub fn channels(agent: &mut Agent, id: u16) -> TestResult {
    let events = Evtchn::open_nonblocking()?;
    // Offered by the guest.
    let (ours, theirs) = channel(agent, &events, id)?;
    events.drain()?;
    for _ in 0..8 {
        tell(agent, &format!("send {theirs} 1"))?;
        equal(events.next(SOON)?, ours, "the port that is pending")?;
        events.notify(ours)?;
        tell(agent, &format!("expect {theirs}"))?;
    }
    // Offered by this side.
    let ours = events.bind_unbound(id.into())?;
    let theirs: u32 = ask(agent, &format!("bind {ours}"))?;
    tell(agent, &format!("send {theirs} 1"))?;
    equal(events.next(SOON)?, ours, "the port that is pending")?;
    events.notify(ours)?;
    tell(agent, &format!("expect {theirs}"))?;
    // Closed by the guest: nothing breaks here, and it can be closed here too.
    tell(agent, &format!("unbind {theirs}"))?;
    events.drain()?;
    events.notify(ours)?;
    events.unbind(ours)?;
    check(!events.wait(NEVER)?, "an event without a channel")
}

/// The guest sends as fast as it can, and says each time where it is. Events run together, but whatever it says is
/// heard: after the last event that comes, nothing is said any more.
fn storm(agent: &mut Agent, id: u16) -> TestResult {
    let count: u32 = if boot::long() { 20_000 } else { 200 };
    let interrupts = Interrupts::named("storm")?;
    let events = Evtchn::open_nonblocking()?;
    let (ours, theirs) = channel(agent, &events, id)?;
    let grants = Gntdev::open()?;
    let (number, references) = granted(agent, 1, "rw", 0)?;
    let (_, memory) = grants.map_memory(id, &references)?;
    events.drain()?;
    let before = interrupts.count()?;
    agent
        .begin(&format!("storm {theirs} {number} {count}"))
        .or_fail()?;
    let (mut heard, mut said, begun) = (0, 0_u32, Instant::now());
    while said < count {
        check(
            events.wait(SOON)?,
            format_args!("what came after {said} of {count} was lost"),
        )?;
        equal(events.read(64)?, vec![ours], "the pending ports")?;
        events.unmask(&[ours])?;
        said = memory.read_at(0);
        heard += 1;
    }
    agent.finish().or_fail()?;
    line(format_args!(
        "# storm: {heard} of {count} events in {} ms",
        begun.elapsed().as_millis()
    ));
    check(heard <= u64::from(count), "more events than were sent")?;
    // However many it sent: one for each time that the port was unmasked, and perhaps one since.
    let came = interrupts.count()? - before;
    check(
        (heard..=heard + 1).contains(&came),
        format_args!("{came} interrupts while {heard} were read"),
    )?;
    events.drain()?;
    // Not listened to: masked after the first, and not one more than once.
    let before = interrupts.count()?;
    tell(agent, &format!("send {theirs} 100"))?;
    equal(events.read(64)?, vec![ours], "the pending ports")?;
    check(!events.wait(NEVER)?, "a masked port is reported")?;
    equal(
        interrupts.count()? - before,
        1,
        "interrupts of a masked port",
    )?;
    drop(memory);
    tell(agent, &format!("revoke {number}"))
}

fn restricted(agent: &mut Agent, id: u16) -> TestResult {
    let events = Evtchn::open_nonblocking()?;
    events.restrict(id)?;
    let (ours, theirs) = channel(agent, &events, id)?;
    events.drain()?;
    tell(agent, &format!("send {theirs} 1"))?;
    equal(events.next(SOON)?, ours, "the port that is pending")
}

fn grants(agent: &mut Agent, id: u16) -> TestResult {
    let file = Gntdev::open()?;
    let (number, references) = granted(agent, 16, "rw", 7)?;
    let (index, memory) = file.map_memory(id, &references)?;
    for page in 0..16 {
        equal(memory.read_at(page * PAGE + 99), 7_u8, "the guest's byte")?;
        memory.write_at(page * PAGE + 99, &(page as u8 + 50));
    }
    for page in [0, 8, 15] {
        let seen: u8 = ask(agent, &format!("byte {number} {}", page * PAGE + 99))?;
        equal(seen, page as u8 + 50, "what the guest sees")?;
        tell(agent, &format!("set {number} {} 33", page * PAGE))?;
        equal(memory.read_at(page * PAGE), 33_u8, "what the guest wrote")?;
    }
    memory.unmap()?;
    file.unmap(index, 16)?;
    let (_, read_only) = granted(agent, 2, "ro", 8)?;
    let index = file.map(id, &read_only)?;
    check(
        file.mmap(index, 2).is_err(),
        "a grant to be read was mapped to be written",
    )?;
    let index = file.map(id, &read_only)?;
    equal(
        file.mmap_read_only(index, 2)?.read_at(PAGE),
        8_u8,
        "the guest's byte",
    )?;
    // Many, by several maps.
    let (_, references) = granted(agent, 300, "rw", 4)?;
    let maps: Vec<_> = references
        .chunks(50)
        .map(|chunk| file.map_memory(id, chunk))
        .collect::<sys::Result<_>>()?;
    check(
        maps.iter().all(|(_, m)| m.read_at::<u8>(49 * PAGE) == 4),
        "a page of the guest has other contents",
    )
}

fn copies(agent: &mut Agent, id: u16) -> TestResult {
    let file = Gntdev::open()?;
    let (_, references) = granted(agent, 4, "ro", 0x3c)?;
    let memory = Mapping::anonymous(4 * PAGE)?;
    let mut segments = copy::pages_from(id, &references, memory.addr());
    file.copy(&mut segments)?;
    check(
        segments.iter().all(|s| s.status == GNTST_OKAY),
        "a segment was not copied",
    )?;
    check(
        memory.bytes(0, 4 * PAGE).iter().all(|&b| b == 0x3c),
        "other bytes than the guest's",
    )
}

/// Streams of bytes go to the guest and come back, by Xen's own library: it maps the rings that the guest grants.
fn proxied(agent: &mut Agent, id: u16, kind: Kind) -> TestResult {
    // Half a gigabyte there and as much back, if there is time. Each listener begins with a transaction of xenstore's,
    // of which a guest may have ten at once.
    let whole = boot::long() && kind == Kind::Pv;
    let (streams, bytes) = (8, if whole { 1 << 26 } else { 1 << 15 });
    tell(agent, &format!("proxy 0 {streams}"))?;
    let begun = Instant::now();
    let sent = vchan::send_and_receive(Place::Dom0, id, streams, bytes).or_fail()?;
    line(format_args!(
        "# vchan: {} bytes there and back in {} ms",
        streams * bytes,
        begun.elapsed().as_millis()
    ));
    // Whoever was at this end was killed: the guest learns of it by what is done when the rings are unmapped.
    let received = agent.call("proxied").or_fail()?;
    equal(
        received.trim(),
        vchan::text(&sent).as_str(),
        "how many bytes the guest received, and their sums",
    )
}

/// The guest takes back what is mapped here: it stays until it is unmapped.
fn revoked_while_mapped(agent: &mut Agent, id: u16) -> TestResult {
    let file = Gntdev::open()?;
    let (number, references) = granted(agent, 2, "rw", 1)?;
    let (_, memory) = file.map_memory(id, &references)?;
    tell(agent, &format!("revoke {number}"))?;
    memory.write_at(PAGE, &2_u8);
    equal(
        memory.read_at(PAGE),
        2_u8,
        "a page that was taken back while it is mapped",
    )?;
    memory.unmap()?;
    Ok(())
}
