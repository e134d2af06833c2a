// SPDX-License-Identifier: GPL-2.0

//! What xl does with guests besides creating them, and with many of them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::toolstack::{contains, run};
use super::SOON;
use crate::boot::{self, Drivers, Words};
use crate::domu::{self, Guest, Running};
use crate::ktap::{check, equal, fail, line, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "many",
    tests: &[
        Test::new("pv_commands", pv_commands)
            .long_in(Kind::Pvh)
            .seconds(600),
        Test::new("pvh_commands", pvh_commands)
            .long_in(Kind::Pvh)
            .seconds(600),
        Test::new("at_once", at_once).seconds(900),
        Test::new("in_sequence", in_sequence).seconds(900),
    ],
};

/// The line about a guest in a list.
fn listed(guest: &Running) -> TestResult<String> {
    let list = run("xl", &["list", guest.name()])?;
    Ok(list.lines().last().unwrap_or("").to_owned())
}

/// Pauses, gives a processor and takes it, and memory; reads the console; saves and restores, migrates to the same
/// machine.
fn commands(kind: Kind) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let guest = Guest::new(kind).line("maxvcpus = 2").create().or_fail()?;
    let mut agent = guest.agent().or_fail()?;

    run("xl", &["pause", guest.name()])?;
    let list = listed(&guest)?;
    let state = list.split_whitespace().nth(4).unwrap_or("");
    check(
        state.contains('p'),
        format_args!("the guest is not paused: {list:?}"),
    )?;
    agent.begin("echo hello").or_fail()?;
    run("xl", &["unpause", guest.name()])?;
    equal(agent.finish().or_fail()?.as_str(), "hello", "the answer")?;

    processors(kind, &guest, &mut agent)?;
    agent
        .call("run echo to the console > /dev/console")
        .or_fail()?;
    console(&guest)?;
    contains(&run("xentop", &["-b", "-i", "1"])?, guest.name())?;
    contains(&run("xl", &["dmesg"])?, "(XEN)")?;

    balloon(&guest, &mut agent)?;

    let file = format!("/tmp/{}.save", guest.name());
    run("xl", &["save", guest.name(), &file])?;
    check(
        domu::gone(guest.name()),
        "the guest is still there after it was saved",
    )?;
    let restored = run("xl", &["restore", &file]);
    fs::remove_file(&file)?;
    restored?;
    let guest = guest.again().or_fail()?;
    answers(&guest, "restored")?;

    let guest = migrated(kind, guest)?;
    guest.destroy().or_fail()
}

/// Gives the guest a processor and takes it again.
fn processors(kind: Kind, guest: &Running, agent: &mut domu::Agent) -> TestResult {
    for (count, said, online) in [("2", "online", "0-1"), ("1", "offline", "0")] {
        run("xl", &["vcpu-set", guest.name(), count])?;
        let key = format!("/local/domain/{}/cpu/1/availability", guest.id());
        equal(
            run("xenstore-read", &[&key])?.trim(),
            said,
            "what the guest is told",
        )?;
        if kind == Kind::Pvh {
            // This kernel takes no processor later that was not there at its start.
            continue;
        }
        // It learns of it by a watch, and leaves it to others to use a processor that has come.
        let done = sys::eventually(SOON, || {
            if said == "online" {
                let _ = agent.call("run echo 1 > /sys/devices/system/cpu/cpu1/online");
            }
            agent
                .call("file /sys/devices/system/cpu/online")
                .is_ok_and(|now| now == online)
        });
        check(
            done,
            format_args!("the processors {online} are not those online"),
        )?;
    }
    Ok(())
}

/// Migrates the guest to the machine that it is on. Debian's Xen is built without shadow page tables, and so cannot
/// tell which pages of a PV guest have changed: that one goes on where it is.
fn migrated(kind: Kind, guest: Running) -> TestResult<Running> {
    let begun = Instant::now();
    let before = guest.id();
    // What stands for ssh drops the machine's name, and runs the rest here.
    let here = "sh -c 'exec \"$@\"'";
    let migration = domu::xl(&["migrate", "-s", here, guest.name(), "localhost"]);
    let guest = guest.again().or_fail()?;
    if kind == Kind::Pv {
        let Err(said) = migration else {
            return fail("a PV guest was migrated");
        };
        contains(&said, "Failed to enable logdirty: 95")?;
        check(guest.id() == before, "the guest has another number")?;
    } else {
        migration.or_fail()?;
        line(format_args!(
            "# a {kind:?} guest of {} MiB migrated in {} ms",
            domu::MEMORY,
            begun.elapsed().as_millis()
        ));
        check(guest.id() != before, "the guest has the same number")?;
    }
    answers(&guest, "migrated")?;
    Ok(guest)
}

fn answers(guest: &Running, word: &str) -> TestResult {
    let mut agent = guest.agent().or_fail()?;
    equal(
        agent.call(&format!("echo {word}")).or_fail()?.as_str(),
        word,
        "the answer",
    )
}

/// Takes memory from the guest and gives it back, as Xen counts it.
fn balloon(guest: &Running, agent: &mut domu::Agent) -> TestResult {
    if Words::read().drivers() == Drivers::C {
        // In this kernel only ours follows the target.
        return Ok(());
    }
    agent.call("load xen-balloon").or_fail()?;
    let mib = || -> Option<u32> { listed(guest).ok()?.split_whitespace().nth(2)?.parse().ok() };
    let less = domu::MEMORY - 32;
    run("xl", &["mem-set", guest.name(), &less.to_string()])?;
    check(
        sys::eventually(SOON, || mib().is_some_and(|now| now <= less + 2)),
        format_args!("the guest gives no memory: it has {:?} MiB", mib()),
    )?;
    run("xl", &["mem-set", guest.name(), &domu::MEMORY.to_string()])?;
    check(
        sys::eventually(SOON, || mib().is_some_and(|now| now >= domu::MEMORY - 2)),
        format_args!("the guest takes no memory: it has {:?} MiB", mib()),
    )
}

/// Attaches to the console, on which something has been said. Without a terminal, the client stays until it is killed.
fn console(guest: &Running) -> TestResult {
    const SAID: &str = "/tmp/console";
    let mut client = Command::new("xl")
        .args(["console", guest.name()])
        .stdin(Stdio::null())
        .stdout(fs::File::create(SAID)?)
        .spawn()?;
    let came = sys::eventually(SOON, || {
        fs::read_to_string(SAID).is_ok_and(|said| said.contains("to the console"))
    });
    client.kill()?;
    client.wait()?;
    fs::remove_file(SAID)?;
    check(came, "nothing came by the console")
}

fn pv_commands() -> TestResult {
    commands(Kind::Pv)
}

fn pvh_commands() -> TestResult {
    commands(Kind::Pvh)
}

/// Guests that are all created at the same time, and all there together.
fn at_once() -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let count = match (boot::long(), boot::kind()) {
        (true, _) | (_, Some(Kind::Pv)) => 20,
        (false, _) => 6,
    };
    let begun = Instant::now();
    let guests = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|number| {
                scope.spawn(move || {
                    Guest::new(Kind::Pv)
                        .named(&format!("one{number:02}"))
                        .create()
                })
            })
            .collect();
        let made: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("panicked".into())))
            .collect();
        made.into_iter().collect::<Result<Vec<_>, _>>()
    });
    let guests = guests.or_fail()?;
    let created = begun.elapsed();
    for (number, guest) in guests.iter().enumerate() {
        let mut agent = guest.agent().or_fail()?;
        let word = format!("echo {number}");
        equal(
            agent.call(&word).or_fail()?,
            number.to_string(),
            "the answer",
        )?;
    }
    line(format_args!(
        "# {count} guests: created in {} s, all answered after {} s",
        created.as_secs(),
        begun.elapsed().as_secs()
    ));
    guests
        .into_iter()
        .try_for_each(|guest| guest.destroy().or_fail())
}

/// Many guests, one after the other.
fn in_sequence() -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    // Under emulation a guest of a translated dom0 takes ten times as long.
    let count = match (boot::long(), boot::kind()) {
        (true, _) => 100,
        (false, Some(Kind::Pv)) => 20,
        (false, _) => 5,
    };
    let begun = Instant::now();
    for _ in 0..count {
        let guest = Guest::new(Kind::Pv).create().or_fail()?;
        guest.destroy().or_fail()?;
    }
    line(format_args!(
        "# {count} guests in {} s",
        begun.elapsed().as_secs()
    ));
    Ok(())
}
