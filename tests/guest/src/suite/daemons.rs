// SPDX-License-Identifier: GPL-2.0

//! The other xenstored, which is written in OCaml. It begins without contents, so it comes last.

use std::fs;
use std::path::Path;

use super::toolstack::{contains, run};
use crate::daemons::{self, tool};
use crate::device::{Evtchn, Privcmd};
use crate::domu::{self, Guest};
use crate::ktap::{check, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "daemons",
    tests: &[Test::new("oxenstored", oxenstored)
        .long_in(Kind::Pvh)
        .seconds(150)
        .unwatched()],
};

const OXENSTORED: &str = "oxenstored";

/// What the daemon loads, by this path and no other.
fn plugins() -> String {
    tool("../ocaml/xsd_glue/xenctrl_plugin")
}

/// Whether a daemon has a device open.
fn has_open(daemon: &str, device: &str) -> TestResult<bool> {
    let Some(pid) = daemons::pid(daemon) else {
        return Ok(false);
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?;
    Ok(files
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|path| path == Path::new(device))))
}

/// The tools and a guest with this xenstored, of which the kernel does not know that it is another one.
fn oxenstored() -> TestResult {
    if !Path::new(&tool(OXENSTORED)).exists() || !Path::new(&plugins()).exists() {
        return skip("the image has no oxenstored");
    }
    check(daemons::stop(), "the daemons do not end")?;
    if !Path::new("/proc/xen/capabilities").exists() {
        sys::mount("none", "/proc/xen", "xenfs")?;
    }
    // It knows of no place of its own for these.
    let configuration = "/tmp/oxenstored.conf";
    fs::write(
        configuration,
        "xenstored-kva = /proc/xen/xsd_kva\nxenstored-port = /proc/xen/xsd_port\n",
    )?;
    let arguments = [
        "--config-file",
        configuration,
        "--pid-file",
        "/run/xenstored.pid",
    ];
    daemons::start_with((OXENSTORED, &arguments), |_| {}).or_fail()?;
    check(
        has_open("xenstored", Evtchn::PATH)?,
        "the daemon does not use the device",
    )?;
    run("xenstore-write", &["/tests/a", "one", "/tests/b", "two"])?;
    contains(&run("xenstore-read", &["/tests/b"])?, "two")?;
    contains(&run("xenstore-ls", &["/tests"])?, "a = \"one\"")?;
    run("xenstore-rm", &["/tests"])?;
    contains(&run("xl", &["list"])?, "Domain-0")?;
    check(Privcmd::open().is_ok(), "privcmd cannot be opened")?;
    if domu::available() {
        let guest = Guest::new(Kind::Pv).create().or_fail()?;
        let mut agent = guest.agent().or_fail()?;
        let said = agent.call("echo hello").or_fail()?;
        contains(&said, "hello")?;
        guest.destroy().or_fail()?;
    }
    check(daemons::stop(), "the daemons do not end")
}
