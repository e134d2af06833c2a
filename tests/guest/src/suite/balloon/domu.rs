// SPDX-License-Identifier: GPL-2.0

//! A guest's memory, as the toolstack sets it.

use super::{MIB, MOVED, ROOT};
use crate::boot::{Drivers, Words};
use crate::domu::{self, Agent, Running, MEMORY};
use crate::ktap::{check, equal, fail, line, OrFail, TestResult};
use crate::suite::guests::{ask, tell};
use crate::sys;
use crate::xen::Xen;
use crate::xenstore::Xenstore;

/// What a guest may have in the end, in MiB. (A paravirtual one from the start: a translated one would begin with less
/// than it sees, and needs a balloon from its first moment.)
pub const MAXIMUM: u32 = 128;

/// The guest, seen from both sides.
struct Ballooned<'a> {
    agent: &'a mut Agent,
    name: &'a str,
    id: u16,
    xen: Xen,
}

impl Ballooned<'_> {
    fn number(&mut self, file: &str) -> TestResult<u64> {
        ask(self.agent, &format!("file {ROOT}/{file}"))
    }

    /// What Xen says that it has, in KiB.
    fn held(&self) -> TestResult<u64> {
        Ok(self.xen.domain_info(self.id)?.tot_pages * 4)
    }

    #[track_caller]
    fn becomes(&mut self, kib: u64) -> TestResult {
        if sys::eventually(MOVED, || self.held().is_ok_and(|held| held == kib)) {
            return Ok(());
        }
        fail(format_args!(
            "{} of {kib} KiB by Xen; the guest has {} of {}, retry {}",
            self.held()?,
            self.number("info/current_kb")?,
            self.number("target_kb")?,
            self.number("retry_count")?
        ))
    }

    /// Loads the driver anew: what it makes for then, by what xenstore has, is what it has made for.
    fn reload(&mut self, target: u64) -> TestResult {
        tell(self.agent, "unload xen-balloon")?;
        tell(self.agent, "load xen-balloon")?;
        std::thread::sleep(crate::suite::NEVER);
        equal(
            self.number("target_kb")?,
            target,
            "the target after the module was loaded again",
        )
    }

    fn set(&self, mib: u64) -> TestResult {
        let command = ["mem-set", self.name, &mib.to_string()];
        domu::xl(&command).map(drop).or_fail()
    }
}

/// The guest's memory goes and comes by our driver in it, or by what its kernel has built in.
pub fn in_guest(agent: &mut Agent, guest: &Running) -> TestResult {
    let begin = u64::from(MEMORY);
    let built_in = agent.call(&format!("file {ROOT}/target_kb")).is_ok();
    if !built_in && Words::read().drivers() == Drivers::C {
        line("# the guest's kernel has nothing that heeds memory/target");
        return Ok(());
    }
    if !built_in {
        tell(agent, "load xen-balloon")?;
    }
    let mut guest = Ballooned {
        agent,
        name: guest.name(),
        id: guest.id(),
        xen: Xen::open()?,
    };
    // What xenstore has had since before the driver was there is what the guest has.
    let (held, current) = (guest.held()?, guest.number("info/current_kb")?);
    equal(guest.number("target_kb")?, current, "the target at first")?;

    guest.set(begin - 16)?;
    guest.becomes(held - 16 * MIB)?;
    equal(
        guest.number("info/current_kb")?,
        current - 16 * MIB,
        "what the guest says that it has",
    )?;
    if !built_in {
        guest.reload(current - 16 * MIB)?;
        equal(guest.held()?, held - 16 * MIB, "KiB after that")?;
    }
    guest.set(begin)?;
    guest.becomes(held)?;

    // More than that only as far as Xen is told.
    guest.set(begin - 8)?;
    guest.becomes(held - 8 * MIB)?;
    let most = (begin - 4).to_string();
    domu::xl(&["mem-max", guest.name, &most]).or_fail()?;
    // Not by xl, which would raise what Xen allows together with the target.
    let key = format!("/local/domain/{}/memory/target", guest.id);
    Xenstore::open()?.write(&key, &(begin * MIB).to_string())?;
    let refused = sys::eventually(MOVED, || {
        guest.number("retry_count").is_ok_and(|attempt| attempt > 1)
    });
    check(refused, "the guest does not count its attempts")?;
    let now = guest.held()?;
    check(
        (held - 8 * MIB..held).contains(&now),
        format_args!("{now} KiB, where Xen allows some 4 MiB less than {held}"),
    )?;
    domu::xl(&["mem-max", guest.name, &MAXIMUM.to_string()]).or_fail()?;
    guest.set(begin)?;
    guest.becomes(held)?;

    // The kernel has not known of so much: the driver adds memory, which somebody has to bring online.
    guest.set(begin + 16)?;
    let added = sys::in_the_end(MOVED, || {
        guest.agent.call("online").is_ok_and(|count| count != "0")
            || guest.held().is_ok_and(|now| now == held + 16 * MIB)
    });
    check(added, "no memory is added")?;
    guest.becomes(held + 16 * MIB)?;
    if !built_in {
        guest.reload(current + 16 * MIB)?;
        guest.becomes(held + 16 * MIB)?;
    }
    guest.set(begin)?;
    guest.becomes(held)?;
    if !built_in {
        guest.reload(current)?;
        guest.becomes(held)?;
    }
    match guest.agent.call("echo well") {
        Ok(said) if said == "well" => Ok(()),
        other => fail(format_args!("the guest says {other:?}")),
    }
}
