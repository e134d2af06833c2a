// SPDX-License-Identifier: GPL-2.0

//! A guest that ends while dom0 uses all it has given.

use std::time::Duration;

use super::{held_as, holders};
use crate::abi::gntdev::{GNTST_OKAY, NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use crate::abi::DOMID_SELF;
use crate::boot;
use crate::device::{Evtchn, Gntdev, Privcmd};
use crate::domu::{self, Agent, Guest, Running};
use crate::ktap::{check, equal, fail, skip, OrFail, TestResult};
use crate::suite::gntdev::copy;
use crate::suite::guests::{ask, channel, granted};
use crate::suite::privcmd::foreign::frames_of;
use crate::suite::{kill, NEVER, SOON};
use crate::sys::{self, Child, Errno, Exit, Mapping, PAGE};
use crate::xen::event::Status;
use crate::xen::{Kind, Xen};

/// How a guest ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Destroyed,
    Crashed,
    PoweredOff,
}

/// What the guest's memory is filled with.
const BYTE: u8 = 0x5a;
/// A child's exit status for a grant's status that is not "okay", and what is added to its number.
const REFUSED: i32 = 200;

pub fn pv() -> TestResult {
    ends(Kind::Pv, End::Destroyed)
}

pub fn pvh() -> TestResult {
    ends(Kind::Pvh, End::Crashed)
}

/// In one way, or in all if there is time.
fn ends(kind: Kind, end: End) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let before = holders();
    if boot::long() {
        for end in [End::Destroyed, End::Crashed, End::PoweredOff].repeat(3) {
            ends_in_use(kind, end)?;
        }
    } else {
        ends_in_use(kind, end)?;
    }
    held_as(&before)
}

impl End {
    fn come(self, guest: &Running, agent: &mut Agent) -> TestResult {
        match self {
            Self::Destroyed => domu::xl(&["destroy", guest.name()]).map(drop),
            // There is nobody left to answer.
            Self::Crashed => agent.begin("run echo c > /proc/sysrq-trigger"),
            Self::PoweredOff => agent.begin("run poweroff -f"),
        }
        .or_fail()
    }
}

/// A process that does one thing with the guest again and again, until that fails.
struct Busy {
    what: &'static str,
    child: Child,
    /// How often it has done it.
    count: Mapping,
}

impl Busy {
    fn start(what: &'static str, work: impl Fn() -> Result<(), Errno>) -> TestResult<Self> {
        let count = Mapping::new(
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            None,
            0,
        )?;
        let child = Child::fork(|| loop {
            if let Err(error) = work() {
                return error.0;
            }
            count.write_at(0, &(count.read_at::<u32>(0) + 1));
        })?;
        Ok(Self { what, child, count })
    }

    fn count(&self) -> u32 {
        self.count.read_at(0)
    }

    /// It has ended, because Xen refused it, or is killed. What it does may go on to work as long as somebody holds the
    /// guest's memory.
    fn end(mut self, time: Duration) -> TestResult {
        let exit = self.child.wait_for(time);
        if exit.is_none() {
            return kill(&mut self.child, SOON);
        }
        let refused = [libc::EINVAL, libc::ESRCH, libc::EBUSY, libc::ENOENT];
        let refused = |status| refused.contains(&status) || status > REFUSED;
        check(
            matches!(exit, Some(Exit::Status(status)) if refused(status)),
            format_args!("{}: {} times, then {exit:?}", self.what, self.count()),
        )
    }
}

/// What processes do with the guest when it ends.
fn busy(agent: &mut Agent, id: u16) -> TestResult<Vec<Busy>> {
    let (_, references) = granted(agent, 8, "rw", BYTE)?;
    let frames = frames_of(&Privcmd::open()?, id, &references)?;
    let ports: Vec<u32> = (0..3)
        .map(|_| ask(agent, "unbound"))
        .collect::<TestResult<_>>()?;
    let memory = Mapping::anonymous(8 * PAGE)?;

    let file = Gntdev::open()?;
    let copier = Busy::start("copying", || {
        let mut segments = copy::pages_from(id, &references, memory.addr());
        file.copy(&mut segments)?;
        match segments.iter().find(|s| s.status != GNTST_OKAY) {
            Some(refused) => Err(Errno(REFUSED + i32::from(-refused.status))),
            None => Ok(()),
        }
    })?;
    let file = Gntdev::open()?;
    let mapper = Busy::start("mapping grants", || {
        let (index, memory) = file.map_memory(id, &references)?;
        memory.write_at(7 * PAGE, &BYTE);
        memory.unmap()?;
        file.unmap(index, 8)
    })?;
    let file = Privcmd::open()?;
    let framer = Busy::start("mapping frames", || file.map_frames(id, &frames)?.unmap())?;
    let binder = Busy::start("binding", || {
        let events = Evtchn::open_nonblocking()?;
        let port = events.bind_interdomain(id.into(), ports[0])?;
        events.notify(port)?;
        events.unbind(port)
    })?;
    let events = Evtchn::open_nonblocking()?;
    let port = events.bind_interdomain(id.into(), ports[1])?;
    let notifier = Busy::start("notifying", || events.notify(port))?;
    let events = Evtchn::open_nonblocking()?;
    let port = events.bind_interdomain(id.into(), ports[2])?;
    let file = Gntdev::open()?;
    let tidier = Busy::start("unmapping with a notification", || {
        let (index, memory) = file.map_memory(id, &references[..2])?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT | NOTIFY_CLEAR_BYTE, port)?;
        file.unmap(index, 2)?;
        memory.unmap()
    })?;
    Ok(vec![copier, mapper, framer, binder, notifier, tidier])
}

/// A guest ends while processes map, copy and bind, and another has all of it mapped and bound, and waits for an event.
fn ends_in_use(kind: Kind, end: End) -> TestResult {
    let guest = Guest::new(kind).create().or_fail()?;
    let (id, name) = (guest.id(), guest.name().to_owned());
    let mut agent = guest.agent().or_fail()?;
    let xen = Xen::open()?;
    let alive = || xen.domain_info(id).is_ok_and(|i| i.domain == id);

    let mut busy = busy(&mut agent, id)?;
    // Each end of a child so far would be one without a reason.
    let at_work = sys::eventually(SOON, || busy.iter().all(|b| b.count() >= 3));
    for b in &mut busy {
        let exit = b.child.wait_for(Duration::ZERO);
        let (what, count) = (b.what, b.count());
        check(
            at_work && exit.is_none(),
            format_args!("{what}: {count} times, then {exit:?}"),
        )?;
    }

    let (_, references) = granted(&mut agent, 8, "rw", BYTE)?;
    let file = Privcmd::open()?;
    let frames = frames_of(&file, id, &references[..4])?;
    let memory = file.map_frames(id, &frames)?;
    let grants = Gntdev::open()?;
    let (index, mapped) = grants.map_memory(id, &references[4..])?;
    let events = Evtchn::open_nonblocking()?;
    let (port, _) = channel(&mut agent, &events, id)?;
    grants.notify_unmap(index, NOTIFY_SEND_EVENT, port)?;
    // Only the child has this file from here on.
    let waiting = Evtchn::open()?;
    channel(&mut agent, &waiting, id)?;
    waiting.drain()?;
    let mut reader = Child::fork(|| waiting.read(1).map_or_else(|e| e.0, |_| 0))?;
    drop(waiting);

    end.come(&guest, &mut agent)?;
    let dying = || xen.domain_info(id).map_or(true, |i| i.is_dying());
    check(
        sys::in_the_end(SOON * 3, dying),
        format_args!("the guest does not end: {end:?}"),
    )?;

    // What is mapped stays, and with it the domain.
    for page in 0..4 {
        for (memory, what) in [(&memory, "a frame"), (&mapped, "a grant")] {
            equal(
                memory.read_at(page * PAGE + 9),
                BYTE,
                format_args!("{what} of a guest that is gone"),
            )?;
        }
    }
    busy.into_iter().try_for_each(|busy| busy.end(NEVER))?;
    events.drain()?;
    equal(
        xen.port_status(DOMID_SELF, port)?,
        Status::Unbound(id),
        "the channel of a guest that is gone",
    )?;
    equal(events.notify(port), Ok(()), "notifying nobody")?;
    check(alive(), "the domain is gone while its frames are mapped")?;
    memory.unmap()?;
    check(
        !sys::eventually(NEVER, || !alive()),
        "the domain is gone while its grants are mapped",
    )?;
    drop((mapped, grants));
    equal(
        reader.wait_for(NEVER),
        None,
        "the end of who waits for an event",
    )?;
    kill(&mut reader, SOON)?;
    check(domu::gone(&name), "the guest's pages are still held")?;
    check(!alive(), "the domain is still there")?;

    // Nothing works any more that names it.
    if file.map_frames(id, &frames).is_ok() {
        return fail("frames of no domain were mapped");
    }
    let index = Gntdev::open()?.map(id, &references)?;
    check(
        Gntdev::open()?.mmap(index, references.len()).is_err(),
        "grants of no domain were mapped",
    )
}
