// SPDX-License-Identifier: GPL-2.0

//! Crates of the Rust registry that use the devices: a program of tests/clients makes their calls.

use std::path::Path;

use super::toolstack::{contains, run};
use crate::domu::{self, Guest};
use crate::ktap::{equal, skip, OrFail, Suite, Test, TestResult};
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "crates",
    tests: &[
        Test::new("xencall", || part("xencall")),
        Test::new("xenevtchn", || part("xenevtchn")),
        Test::new("xenstore", || part("xenstore")),
        Test::new("xengnt", xengnt).seconds(200),
        Test::new("foreign_memory", foreign).seconds(200),
        Test::new("vm_memory_grant", vm_memory_grant).seconds(200),
    ],
};

/// Where the image has the program.
const PROGRAM: &str = "/usr/lib/xen-rust/xen-clients";

/// Has the program do one part of what it can; it says so when all was as it should be.
fn ask(arguments: &[&str]) -> TestResult {
    if !Path::new(PROGRAM).exists() {
        return skip("the image has no such program");
    }
    contains(&run(PROGRAM, arguments)?, "as expected")
}

fn part(name: &str) -> TestResult {
    ask(&[name])
}

/// A page that a PVH guest's kernel has, whatever else: its first one.
const KERNEL: u64 = 0x100_0000 / 4096;

/// Creates a guest for a part that needs one.
fn with_guest(kind: Kind, body: impl FnOnce(&str, &mut domu::Agent) -> TestResult) -> TestResult {
    if !Path::new(PROGRAM).exists() {
        return skip("the image has no such program");
    }
    if !domu::available() {
        return skip("the image has no guest");
    }
    let guest = Guest::new(kind).create().or_fail()?;
    let mut agent = guest.agent().or_fail()?;
    body(&guest.id().to_string(), &mut agent)?;
    guest.destroy().or_fail()
}

/// What the guest grants, as words: a number for all, then the references.
fn granted(agent: &mut domu::Agent, count: usize, byte: u8) -> TestResult<Vec<String>> {
    let said = agent.call(&format!("grant {count} rw {byte}")).or_fail()?;
    Ok(said.split_whitespace().skip(1).map(str::to_owned).collect())
}

fn xengnt() -> TestResult {
    with_guest(Kind::Pv, |id, agent| {
        let references = granted(agent, 8, 7)?;
        let mut words = vec!["xengnt", id, "7"];
        words.extend(references.iter().map(String::as_str));
        ask(&words)?;
        let seen = agent.call("byte 0 0").or_fail()?;
        equal(seen.as_str(), "8", "what the guest sees")
    })
}

fn vm_memory_grant() -> TestResult {
    with_guest(Kind::Pv, |id, agent| {
        let references = granted(agent, 1, 7)?;
        ask(&["vm-memory-grant", id, "7", &references.join(" ")])?;
        let seen = agent.call("byte 0 4095").or_fail()?;
        equal(seen.as_str(), "9", "what the guest sees")
    })
}

fn foreign() -> TestResult {
    with_guest(Kind::Pvh, |id, _| {
        let frame = KERNEL.to_string();
        ask(&["xencall-foreign", id, &frame])?;
        ask(&["vm-memory-foreign", id, &frame])
    })
}
