// SPDX-License-Identifier: GPL-2.0

//! xenstored, killed while there is a guest.

use super::{held_as, holders, next_works};
use crate::boot::{Drivers, Words};
use crate::daemons;
use crate::device::{Evtchn, Gntdev};
use crate::domu::{self, Guest};
use crate::drivers::{BALLOON, MODULES};
use crate::ktap::{check, equal, skip, OrFail, TestResult};
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
/// one has answered.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        if !daemons::running() {
            daemons::stop();
            let _ = daemons::start(|_| {});
        }
    }
}

fn round() -> TestResult {
    let before = holders();
    let mut waiting = waiting()?;
    let _leave = Leave;
    let guest = Guest::new(Kind::Pv).create().or_fail()?;
    let id = guest.id();
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
    let heard = || -> TestResult<u32> {
        check(events.wait(SOON)?, "the guest does not go on")?;
        equal(events.read(64)?, vec![ours], "the pending ports")?;
        events.unmask(&[ours])?;
        Ok(memory.read_at(0))
    };
    let said = heard()?;
    check(daemons::kill("xenstored"), "xenstored does not end")?;
    std::thread::sleep(NEVER);
    // What came before that, and what has come since.
    heard()?;
    check(heard()? > said, "the guest does not go on")?;

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
    let heard_since = heard()?;
    check(heard()? > heard_since, "the guest does not go on")?;
    drop((memory, grants, events));
    domu::xl(&["destroy", &id.to_string()]).or_fail()?;
    let xen = Xen::open()?;
    let gone = || {
        xen.domains()
            .is_ok_and(|all| all.iter().all(|i| i.domain != id))
    };
    check(sys::in_the_end(SOON, gone), "the guest does not go")?;
    drop(guest);
    next_works(Kind::Pv)?;
    held_as(&before)
}

/// The driver asks the new xenstored, too.
fn balloon_again() -> TestResult {
    let drivers = Words::read().drivers();
    let Some(balloon) = MODULES
        .iter()
        .find(|m| m.name == BALLOON && m.is_loaded() && drivers == Drivers::Rust)
    else {
        return Ok(());
    };
    sys::unload_module(&balloon.kernel_name())?;
    balloon.load(drivers).or_fail()
}
