// SPDX-License-Identifier: GPL-2.0

//! SET_UNMAP_NOTIFY.

use std::time::Duration;

use super::{each_grantor, Grantor};
use crate::abi::gntdev::{NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use crate::abi::DOMID_SELF;
use crate::device::{Evtchn, Gntdev};
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::{kill, NEVER, SOON};
use crate::sys::{self, Child, Mapping, PAGE};
use crate::xen::event::Status;
use crate::xen::{BareDomain, Kind};

/// Grants whose pages are filled with ones.
fn filled(grantor: &Grantor) -> TestResult<Mapping> {
    let view = grantor.view()?;
    view.fill(1);
    Ok(view)
}

/// Only the byte at this place has been cleared.
fn only_cleared(view: &Mapping, at: usize) -> TestResult {
    let cleared: Vec<usize> = (0..view.len())
        .filter(|&i| view.read_at::<u8>(i) == 0)
        .collect();
    equal(cleared, vec![at], "bytes that were cleared")
}

/// One event comes through the port, and no other.
fn exactly_once(events: &Evtchn, port: u32) -> TestResult {
    equal(events.next(SOON)?, port, "the port that is pending")?;
    check(!events.wait(NEVER)?, "a second event")
}

pub fn clears_byte() -> TestResult {
    each_grantor(3, |grantor| {
        let view = filled(&grantor)?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        let at = 2 * PAGE + 77;
        file.notify_unmap(index + at as u64, NOTIFY_CLEAR_BYTE, 0)?;
        file.unmap(index, 3)?;
        std::thread::sleep(NEVER);
        equal(view.read_at(at), 1_u8, "the byte while it is mapped")?;
        memory.unmap()?;
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "grants are in use after munmap",
        )?;
        only_cleared(&view, at)
    })
}

pub fn sends_event() -> TestResult {
    each_grantor(2, |grantor| {
        let events = Evtchn::open_nonblocking()?;
        let (near, far) = events.loopback()?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, near)?;
        check(!events.wait(NEVER)?, "an event before the map goes")?;
        memory.unmap()?;
        file.unmap(index, 2)?;
        exactly_once(&events, far)?;
        drop(file);
        check(!events.wait(NEVER)?, "an event when the file is closed")
    })
}

pub fn at_death() -> TestResult {
    each_grantor(2, |grantor| {
        let view = filled(&grantor)?;
        let events = Evtchn::open_nonblocking()?;
        let (near, far) = events.loopback()?;
        let (read, write) = sys::pipe()?;
        let mut child = Child::fork(|| {
            let done = (|| -> sys::Result<(Gntdev, Mapping)> {
                let file = Gntdev::open()?;
                let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
                file.notify_unmap(index + 5, NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT, near)?;
                Ok((file, memory))
            })();
            let _ = sys::write(&write, &[u8::from(done.is_ok())]);
            loop {
                std::thread::sleep(SOON);
            }
        })?;
        let mut said = [0];
        sys::read(&read, &mut said)?;
        equal(said, [1], "whether the child could set it up")?;
        kill(&mut child, SOON)?;
        exactly_once(&events, far)?;
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "grants are in use after the owner's death",
        )?;
        only_cleared(&view, 5)
    })
}

pub fn replaced() -> TestResult {
    each_grantor(2, |grantor| {
        let view = filled(&grantor)?;
        let events = Evtchn::open_nonblocking()?;
        let (near, far) = events.loopback()?;
        let (other, other_far) = events.loopback()?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.notify_unmap(index + 9, NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT, near)?;
        file.notify_unmap(index + 10, NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT, other)?;
        memory.unmap()?;
        file.unmap(index, 2)?;
        check(far != other_far, "two channels are one")?;
        exactly_once(&events, other_far)?;
        only_cleared(&view, 10)?;
        // And taken back.
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.notify_unmap(index + 11, NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT, near)?;
        file.notify_unmap(index, 0, 0)?;
        memory.unmap()?;
        file.unmap(index, 2)?;
        check(!events.wait(NEVER)?, "an event that was taken back")?;
        only_cleared(&view, 10)
    })
}

pub fn keeps_port() -> TestResult {
    each_grantor(1, |grantor| {
        let (events, other) = (Evtchn::open_nonblocking()?, Evtchn::open_nonblocking()?);
        let near = events.bind_unbound(0)?;
        let far = other.bind_interdomain(0, near)?;
        other.drain()?;
        equal(other.wait(NEVER)?, false, "an event at first")?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, near)?;
        // The port's owner goes, but it has been promised to be used.
        drop(events);
        let status = grantor.domain.xen().port_status(DOMID_SELF, near)?;
        equal(
            status,
            Status::Interdomain(0, far),
            "the port, as Xen sees it",
        )?;
        drop((memory, file));
        exactly_once(&other, far)?;
        let closed = || grantor.domain.xen().port_status(DOMID_SELF, near) == Ok(Status::Closed);
        check(sys::eventually(SOON, closed), "the port stays open")
    })
}

/// A port that is kept for a grant's sake goes with that: nobody can make it theirs, even just then.
pub fn kept_port_is_nobodys() -> TestResult {
    each_grantor(1, |grantor| {
        let other = Evtchn::open()?;
        let file = Gntdev::open()?;
        // The driver looks for ports that can be closed, ever less often: the longer it has waited, the likelier there is
        // time between the end of the mapping and the end of the port.
        for wait in [0, 2] {
            let events = Evtchn::open()?;
            let port = events.bind_unbound(u32::from(grantor.id()))?;
            let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
            file.notify_unmap(index, NOTIFY_SEND_EVENT, port)?;
            drop(events);
            std::thread::sleep(Duration::from_secs(wait));
            other.bind_static(port).fails_with(libc::EBUSY)?;
            memory.unmap()?;
            file.unmap(index, 1)?;
            other.bind_static(port).fails_with(libc::EINVAL)?;
            let status = grantor.domain.xen().port_status(DOMID_SELF, port)?;
            equal(status, Status::Closed, "the port, as Xen sees it")?;
        }
        Ok(())
    })
}

pub fn refused() -> TestResult {
    each_grantor(2, |grantor| {
        let events = Evtchn::open()?;
        let port = events.bind_unbound(0)?;
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        for action in [4, 8, 7, u32::MAX] {
            file.notify_unmap(index, action, port)
                .fails_with(libc::EINVAL)?;
        }
        for port in [0, 1 << 16, u32::MAX] {
            file.notify_unmap(index, NOTIFY_SEND_EVENT, port)
                .fails_with(libc::EINVAL)?;
        }
        for index in [index + 2 * PAGE as u64, 1 << 40, u64::MAX] {
            file.notify_unmap(index, NOTIFY_CLEAR_BYTE, 0)
                .fails_with(libc::ENOENT)?;
            file.notify_unmap(index, NOTIFY_SEND_EVENT, port)
                .fails_with(libc::ENOENT)?;
        }
        events.unbind(port)?;
        // What was refused keeps no port.
        let status = grantor.domain.xen().port_status(DOMID_SELF, port)?;
        equal(status, Status::Closed, "the port, as Xen sees it")?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, port)
            .fails_with(libc::EINVAL)
    })
}

pub fn read_only() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        let _memory = file.mmap_read_only(index, 1)?;
        file.notify_unmap(index, NOTIFY_CLEAR_BYTE, 0)
            .fails_with(libc::EINVAL)
    })
}

pub fn becomes_read_only() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let grantor = Grantor::new(domain, 1)?;
    let view = filled(&grantor)?;
    let file = Gntdev::open()?;
    let index = file.map(grantor.id(), &grantor.references)?;
    file.notify_unmap(index, NOTIFY_CLEAR_BYTE, 0)?;
    file.mmap_read_only(index, 1).fails_with(libc::EINVAL)?;
    drop(file);
    equal(view.read_at(0), 1_u8, "a byte that may only be read")
}
