// SPDX-License-Identifier: GPL-2.0

//! The other side, or a process here, ends at any moment: nothing remains, and the next guest is made as if nothing had
//! been. It ends xenstored, so it comes after what needs that one's contents.

mod creation;
mod domain;
mod store;

use super::SOON;
use crate::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use crate::domu::Guest;
use crate::ktap::{check, equal, OrFail, Suite, Test, TestResult};
use crate::process;
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "crashes",
    tests: &[
        Test::new("pv_guest", domain::pv).seconds(400),
        Test::new("pvh_guest", domain::pvh)
            .long_in(Kind::Pvh)
            .seconds(400),
        Test::new("create_pv", creation::pv).seconds(600),
        Test::new("create_pvh", creation::pvh)
            .long_in(Kind::Pvh)
            .seconds(600),
        Test::new("xenstored", store::killed).seconds(400),
    ],
};

/// What dom0's programs open.
const DEVICES: [&str; 4] = [
    Evtchn::PATH,
    Privcmd::PATH,
    HypercallBuffer::PATH,
    Gntdev::PATH,
];

/// Who has which devices open, without their numbers.
fn holders() -> Vec<String> {
    let mut holders: Vec<_> = process::holders(&DEVICES)
        .into_iter()
        .map(|(process, devices)| format!("{}: {devices:?}", process.words.join(" ")))
        .collect();
    holders.sort_unstable();
    holders
}

/// The same programs have the devices open as before.
fn held_as(before: &[String]) -> TestResult {
    if sys::eventually(SOON, || holders() == before) {
        return Ok(());
    }
    equal(holders().as_slice(), before, "who has the devices open")
}

/// A guest can be made, answers, and goes.
fn next_works(kind: Kind) -> TestResult {
    let guest = Guest::new(kind).create().or_fail()?;
    let said = guest.agent().and_then(|mut agent| agent.call("echo well"));
    check(
        said == Ok("well".into()),
        format_args!("the next guest says {said:?}"),
    )?;
    guest.destroy().or_fail()
}
