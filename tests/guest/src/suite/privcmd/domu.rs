// SPDX-License-Identifier: GPL-2.0

//! The driver in a guest, where it restricts files to the domain that the guest serves.

use std::time::Duration;

use crate::boot::{self, Drivers, Words};
use crate::device::Privcmd;
use crate::domu::{self, xl, Agent, Console, Guest};
use crate::ktap::{check, equal, fail, skip, OrFail, TestResult};
use crate::sys::Mapping;
use crate::xen::{BareDomain, Kind};
use crate::xenstore::Xenstore;

/// A domain that the guest has nothing to do with.
const OTHER: u16 = 0x7e00;

const EPERM: i32 = libc::EPERM;

/// What a file may do, as the guest tells it.
fn rights(whom: &str, hypercall: i32, domains: &[(u16, i32)]) -> String {
    // The C driver does not show to whom a file is restricted.
    let whom = match Words::read().drivers() {
        Drivers::Rust => whom,
        Drivers::C => "-",
    };
    let mut text = format!("to:{whom} hypercall:{hypercall}");
    for (domain, error) in domains {
        text += &format!(" {domain}:{error}");
    }
    text
}

/// A guest's file that may do nothing at all. No domain has the number that it is restricted to.
fn nothing(domains: &[u16]) -> String {
    let denied: Vec<_> = domains.iter().map(|&d| (d, EPERM)).collect();
    rights("32767", EPERM, &denied)
}

/// Loads the driver in a guest, which can take its time, and gives what a file may do.
fn reloaded(agent: &mut Agent, parameters: &str, domains: &[u16]) -> TestResult<String> {
    let names: Vec<_> = domains.iter().map(u16::to_string).collect();
    // It may be there from before.
    let _ = agent.call("unload xen-privcmd");
    agent
        .call(&format!("load xen-privcmd {parameters}"))
        .or_fail()?;
    agent
        .call(&format!("privcmd {}", names.join(" ")))
        .or_fail()
}

/// What a guest with a target, and without one, may do: see [`crate::suite::guests`].
///
/// The more unusual cases are not about the kind of the guest, and one that loads modules faster has them.
pub fn in_guest(agent: &mut Agent, id: u16, kind: Kind) -> TestResult {
    let key = format!("/local/domain/{id}/target");
    let mut store = Xenstore::open()?;
    let target = BareDomain::new(Kind::Pvh)?;
    let dom = target.id();
    let domains = [0, dom, OTHER, id];

    equal(
        reloaded(agent, "", &domains)?,
        nothing(&domains),
        "what a guest without a target may do",
    )?;
    // It is told once, when the driver is loaded.
    store.write(&key, &dom.to_string())?;
    equal(
        agent.call(&format!("privcmd {dom}")).or_fail()?,
        nothing(&[dom]),
        "what a guest may do that got a target too late",
    )?;
    let own = rights(
        &dom.to_string(),
        EPERM,
        &[(0, EPERM), (dom, 0), (OTHER, EPERM), (id, EPERM)],
    );
    equal(
        reloaded(agent, "", &domains)?,
        own.clone(),
        "what a guest with a target may do",
    )?;
    acts_on_its_target(agent, id, &target)?;
    store.write(&key, &OTHER.to_string())?;
    equal(
        agent
            .call(&format!("privcmd 0 {dom} {OTHER} {id}"))
            .or_fail()?,
        own,
        "what a guest may do whose target changed",
    )?;

    let unusual: &[&str] = match kind {
        Kind::Pv if boot::long() => &["", "many", "-1", "99999999999999999999"],
        Kind::Pv => &["many"],
        Kind::Pvh => &[],
    };
    for text in unusual {
        store.write(&key, text)?;
        equal(
            reloaded(agent, "", &domains)?,
            nothing(&domains),
            format_args!("what a guest with the target {text:?} may do"),
        )?;
    }
    if kind == Kind::Pv && Words::read().drivers() == Drivers::Rust {
        // The C driver cuts it to 16 bits.
        store.write(&key, &(0x10000 + u32::from(dom)).to_string())?;
        equal(
            reloaded(agent, "", &domains)?,
            nothing(&domains),
            "what a guest with a number as target that no domain can have may do",
        )?;
    }

    equal(
        reloaded(agent, "unrestricted=1", &domains)?,
        rights("none", 0, &[(0, 0), (dom, 0), (OTHER, 0), (id, 0)]),
        "what a guest whose driver is told not to restrict may do",
    )?;
    agent.call("unload xen-privcmd").or_fail()?;
    store.remove(&key)?;
    Ok(())
}

/// Xen, too, lets the guest act on its target. What it does there is seen here.
fn acts_on_its_target(agent: &mut Agent, id: u16, target: &BareDomain) -> TestResult {
    let dom = target.id();
    target.xen().set_target(id, dom)?;
    let frames = target.populate(1)?;
    let memory = Privcmd::open()?.map_frames(dom, &frames)?;
    memory.write_at(0, &7_u8);
    for byte in 7..10_u8 {
        equal(
            agent
                .call(&format!("increment {dom} {}", frames[0]))
                .or_fail()?,
            byte.to_string(),
            "what the guest found in its target's memory",
        )?;
        equal(
            memory.read_at(0),
            byte + 1,
            "what the guest left in its target's memory",
        )?;
    }
    let answer = agent.call(&format!("increment {OTHER} {}", frames[0]));
    check(
        answer.as_ref().is_err_and(|e| e.contains("EPERM")),
        format_args!("acting on another domain gave {answer:?}"),
    )
}

/// Waits for a word of the guest's on its console, and gives what follows it on the line.
fn told(console: &Console, word: &str) -> TestResult<String> {
    let line = console.find(Duration::from_secs(120), |line| {
        let (_, said) = line.split_once("inside: ")?;
        let said = said.trim();
        let (first, rest) = said.split_once(' ').unwrap_or((said, ""));
        (first == word || first == "failed:").then(|| (first == word, rest.to_owned()))
    });
    match line {
        Some((true, rest)) => Ok(rest),
        Some((false, said)) => fail(said),
        None => fail(format_args!("the guest does not say {word:?}")),
    }
}

/// A guest whose xenstore does not answer yet.
///
/// A translated guest looks whether it is connected when it boots; if not, it waits for an event.
pub fn waits_for_xenstore() -> TestResult {
    /// Where in the page that guest and xenstore share is the state of the connection, and its values.
    const CONNECTION: usize = 2068;
    const CONNECTED: u32 = 0;
    const RECONNECT: u32 = 1;

    if !domu::available() {
        return skip("the image has no guest");
    }
    let guest = Guest::new(Kind::Pvh).named("waits").waiting();
    let guest = guest.create_paused().or_fail()?;
    let id = guest.id();
    let mut store = Xenstore::open()?;
    let mut key = |name: &str| -> TestResult<u32> {
        let text = store.read(&format!("/local/domain/{id}/store/{name}"))?;
        text.trim().parse().or_else(|_| fail(text))
    };
    let (frame, port) = (key("ring-ref")?, key("port")?);
    store.write(&format!("/local/domain/{id}/target"), "5")?;
    let page: Mapping = Privcmd::open()?.map_frames(id, &[frame.into()])?;
    equal(
        page.read_at(CONNECTION),
        CONNECTED,
        "the state of a fresh guest's connection",
    )?;
    page.write_at(CONNECTION, &RECONNECT);
    let console = Console::of(guest.name())?;
    xl(&["unpause", guest.name()]).or_fail()?;

    equal(
        told(&console, "open-ends-early")?.as_str(),
        "false",
        "whether opening ends before the target is known",
    )?;
    equal(
        told(&console, "interrupted")?,
        libc::EINTR.to_string(),
        "the error of an open that a signal interrupts",
    )?;
    equal(
        told(&console, "killed")?.as_str(),
        "Some(Signal(9))",
        "the end of who was killed while waiting",
    )?;
    equal(
        told(&console, "patient-early")?.as_str(),
        "false",
        "whether the next open ends early",
    )?;
    told(&console, "waiting")?;
    // xenstored answers those who are introduced.
    page.unmap()?;
    store.introduce(id, frame, port)?;
    equal(
        told(&console, "patient")?.as_str(),
        "Status(0)",
        "what came of an open that has waited",
    )?;
    let own = rights("5", EPERM, &[(0, EPERM), (5, 0), (6, EPERM)]);
    equal(
        told(&console, "rights")?,
        own.clone(),
        "what a guest that has waited may do",
    )?;

    equal(
        told(&console, "locked")?.as_str(),
        "true",
        "whether the guest's kernel can be locked down",
    )?;
    // A locked-down kernel takes signed modules only, and not all kernels have a key.
    if told(&console, "loaded")? != "0" {
        return skip("the image has no signed modules");
    }
    equal(
        told(&console, "locked-rights")?,
        own,
        "what a guest may do that is told not to restrict, and is locked down",
    )?;
    // Then it powers off.
    check(domu::gone(guest.name()), "the guest does not go")
}
