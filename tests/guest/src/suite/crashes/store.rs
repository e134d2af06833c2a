// SPDX-License-Identifier: GPL-2.0

//! xenstored, killed while there is a guest.

use super::{held_as, holders, next_works};
use crate::boot::Words;
use crate::daemons;
use crate::device::{Evtchn, Gntdev};
use crate::domu::{self, Guest};
use crate::drivers::{Module, BALLOON, MODULES};
use crate::ktap::{check, equal, skip, OrFail, TestResult};
use crate::suite::balloon::{number, MIB, MOVED};
use crate::suite::guests::{channel, granted};
use crate::suite::toolstack::run;
use crate::suite::{kill, NEVER, SOON};
use crate::sys::{self, Child};
use crate::xen::{Kind, Xen};
use crate::xenstore::Xenstore;

const KEY: &str = "/tests/crashes";

pub fn killed() -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let rounds = if crate::boot::long() { 10 } else { 1 };
    for _ in 0..rounds {
        round()?;
    }
    Ok(())
}

/// One that waits for a key to change, by the kernel's own connection.
fn waiting() -> TestResult<Child> {
    let mut store = Xenstore::open()?;
    store.watch(KEY)?;
    store.wait()?;
    Ok(Child::fork(|| store.wait().map_or_else(|e| e.0, |()| 0))?)
}

/// Leaves a xenstored behind, however the test ends: who has watched a key by the kernel's connection cannot end before
/// one has answered. The guest that it does not know of goes by its number.
struct Leave {
    guest: u16,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !daemons::running() {
            daemons::stop();
            let _ = daemons::start(|_| {});
        }
        let _ = domu::xl(&["destroy", &self.guest.to_string()]);
    }
}

fn round() -> TestResult {
    let before = holders();
    let guest = Guest::new(Kind::Pv).create().or_fail()?;
    let id = guest.id();
    let mut waiting = waiting()?;
    let leave = Leave { guest: id };
    let mut agent = guest.agent().or_fail()?;
    let events = Evtchn::open_nonblocking()?;
    let (ours, theirs) = channel(&mut agent, &events, id)?;
    let grants = Gntdev::open()?;
    let (number, references) = granted(&mut agent, 1, "rw", 0)?;
    let (_, memory) = grants.map_memory(id, &references)?;
    events.drain()?;

    // The guest says where it is by memory and events, and goes on doing so.
    agent
        .begin(&format!("storm {theirs} {number} {}", u32::MAX))
        .or_fail()?;
    // An event may be of a time before: the guest goes on once it says something else.
    let goes_on = |said: u32| -> TestResult<u32> {
        loop {
            check(events.wait(SOON)?, "the guest sends no events")?;
            equal(events.read(64)?, vec![ours], "the pending ports")?;
            events.unmask(&[ours])?;
            let now = memory.read_at(0);
            if now > said {
                return Ok(now);
            }
        }
    };
    let said = goes_on(0)?;
    check(daemons::kill("xenstored"), "xenstored does not end")?;
    // What came before that may be heard only now.
    let said = goes_on(goes_on(said)?)?;

    equal(
        waiting.wait_for(NEVER),
        None,
        "the end of who waits for a key",
    )?;
    check(daemons::stop(), "who used xenstored does not end")?;
    let left = holders();
    check(
        left.is_empty(),
        format_args!("devices are still open: {left:?}"),
    )?;
    waiting.kill(libc::SIGKILL);

    // The next begins without contents, on the same page and port.
    daemons::start(|_| {}).or_fail()?;
    kill(&mut waiting, SOON)?;
    let mut store = Xenstore::open()?;
    store.write(KEY, "again")?;
    equal(store.read(KEY)?.as_str(), "again", "what was written")?;
    equal(
        run("xenstore-read", &[KEY])?.trim(),
        "again",
        "what was written",
    )?;
    store.remove(KEY)?;
    check(
        store.read(&format!("/local/domain/{id}/name")).is_err(),
        "it knows a guest from before",
    )?;
    balloon_again()?;

    // The guest has noticed nothing, and is destroyed by its number.
    goes_on(goes_on(said)?)?;
    drop((memory, grants, events));
    domu::xl(&["destroy", &id.to_string()]).or_fail()?;
    let xen = Xen::open()?;
    let gone = || {
        xen.domains()
            .is_ok_and(|all| all.iter().all(|i| i.domain != id))
    };
    check(sys::in_the_end(SOON, gone), "the guest does not go")?;
    drop((leave, guest));
    next_works(Kind::Pv)?;
    held_as(&before)
}

/// The driver's watch went with the xenstored that had it, which nobody tells the kernel. Loaded again, it has another.
fn balloon_again() -> TestResult {
    let drivers = Words::read().drivers();
    let loaded = |m: &&Module| m.name == BALLOON && m.is_loaded();
    let Some(balloon) = MODULES.iter().find(loaded) else {
        return Ok(());
    };
    let mut store = Xenstore::open()?;
    let mut set = |kib: u64| store.write("memory/target", &kib.to_string());
    let becomes = |kib| sys::eventually(MOVED, || number("target_kb").is_ok_and(|now| now == kib));
    let target = number("target_kb")?;
    set(target - MIB)?;
    std::thread::sleep(NEVER);
    equal(number("target_kb")?, target, "the target")?;
    sys::unload_module(&balloon.kernel_name())?;
    balloon.load(drivers).or_fail()?;
    let heard = becomes(target - MIB);
    set(target)?;
    check(heard, "the target that xenstore has is not heeded")?;
    check(becomes(target), "the target is not heeded another time")
}
