// SPDX-License-Identifier: GPL-2.0

//! The other xenstored, which is written in OCaml, and how Debian starts it all. Each xenstored begins without contents,
//! so these come last.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::toolstack::{contains, run};
use super::{modules, NEVER, SOON};
use crate::boot::{Drivers, Words};
use crate::daemons::{self, tool};
use crate::device::{Evtchn, Privcmd};
use crate::domu::{self, Guest};
use crate::drivers::{BALLOON, MODULES};
use crate::ktap::{check, equal, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "daemons",
    tests: &[
        Test::new("debian_service", debian_service)
            .seconds(150)
            .unwatched(),
        Test::new("oxenstored", oxenstored)
            .long_in(Kind::Pvh)
            .seconds(150)
            .unwatched(),
    ],
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

/// Has Debian's script do something, by the shell that it is written for.
fn service(what: &str) -> TestResult {
    run("dash", &[SCRIPT, what]).map(drop)
}

/// Does what the first process of a system does besides: takes note of the end of daemons. Else they would not be gone
/// for who waits for that.
fn as_init(body: impl FnOnce() -> TestResult) -> TestResult {
    sys::adopt_orphans()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if let Some(pid) = daemons::pid_in_file("xenconsoled") {
                    sys::reap(pid);
                }
                std::thread::sleep(NEVER);
            }
        });
        let result = body();
        done.store(true, Ordering::Relaxed);
        result
    })
}

const SCRIPT: &str = "/etc/init.d/xen";

/// Debian's `xen.service` runs a script when the system starts, and another time when it stops. There is no other unit
/// of Debian's that loads Xen's drivers or mounts xenfs.
fn debian_service() -> TestResult {
    if !Path::new(SCRIPT).exists() {
        return skip("the image has no such script");
    }
    if Words::read().drivers() == Drivers::C {
        return skip("the C drivers are not where modprobe looks");
    }
    modules::unload_balloon()?;
    check(daemons::stop(), "the daemons do not end")?;
    modules::unload_all()?;
    as_init(started_and_stopped)?;
    check(daemons::stop(), "the daemons do not end")
}

fn started_and_stopped() -> TestResult {
    service("start")?;
    for module in MODULES.iter().filter(|m| m.name != BALLOON) {
        check(
            module.is_loaded(),
            format_args!("{} is not loaded", module.name),
        )?;
        check(
            module.is_ours(),
            format_args!("{} is another one", module.name),
        )?;
    }
    equal(
        fs::read_to_string("/proc/xen/capabilities")?.as_str(),
        "control_d\n",
        "what a dom0 can",
    )?;
    let xenstored = daemons::pid("xenstore");
    check(xenstored.is_some(), "there is no xenstored")?;
    contains(&run("xl", &["list"])?, "Domain-0")?;
    // What is there stays.
    service("start")?;
    service("restart")?;
    equal(daemons::pid("xenstore"), xenstored, "xenstored's process")?;
    // It writes its file when it is in the background already.
    let console = || daemons::pid("xenconsoled").is_some();
    check(sys::eventually(SOON, console), "there is no console daemon")?;
    contains(&run("xl", &["list"])?, "Domain-0")?;
    service("stop")?;
    check(
        daemons::pid("xenconsoled").is_none(),
        "the console daemon does not end",
    )
}
