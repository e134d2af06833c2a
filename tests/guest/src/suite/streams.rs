// SPDX-License-Identifier: GPL-2.0

//! Xen's own libraries: libxenvchan between guests, libxenstore by the files that lead to xenstored.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::toolstack::contains;
use super::SOON;
use crate::boot::{self, Drivers, Words};
use crate::domu::{self, Guest};
use crate::ktap::{check, equal, line, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::vchan;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "streams",
    tests: &[
        Test::new("xenstore_by_device", xenstore_by_device),
        Test::new("xenstore_by_xenfs", xenstore_by_xenfs),
        Test::new("vchan_of_two_guests", vchan_of_two_guests)
            .with_clients()
            .seconds(400),
    ],
};

/// A xenstore tool that finds no socket of the daemon's, and so takes a file.
fn tool(file: &str, program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("XENSTORED_RUNDIR", "/nowhere")
        .env("XENSTORED_PATH", file)
        .stdin(Stdio::null());
    command
}

fn said(file: &str, program: &str, arguments: &[&str]) -> TestResult<String> {
    let output = tool(file, program).args(arguments).output()?;
    check(
        output.status.success(),
        format_args!("{program}: {}", String::from_utf8_lossy(&output.stderr)),
    )?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes, lists, watches and removes by one file.
fn xenstore_by(file: &str) -> TestResult {
    // Where there is no such file, there is no other way.
    let nowhere = tool("/nowhere/xenbus", "xenstore-list").arg("/").output()?;
    check(!nowhere.status.success(), "the tools have another way")?;

    said(
        file,
        "xenstore-write",
        &["/tests/a", "one", "/tests/b", "two"],
    )?;
    equal(
        said(file, "xenstore-read", &["/tests/b"])?.trim(),
        "two",
        "the value",
    )?;
    contains(&said(file, "xenstore-ls", &["/tests"])?, "a = \"one\"")?;
    said(file, "xenstore-chmod", &["/tests/a", "b0"])?;

    const HEARD: &str = "/tmp/heard";
    let mut watch = tool(file, "xenstore-watch")
        .args(["-n", "2", "/tests/a"])
        .stdout(fs::File::create(HEARD)?)
        .spawn()?;
    // It fires once when it is set, and once for the change.
    let set = sys::eventually(SOON, || {
        fs::read_to_string(HEARD).is_ok_and(|s| !s.is_empty())
    });
    said(file, "xenstore-write", &["/tests/a", "three"])?;
    let fired = sys::eventually(SOON, || matches!(watch.try_wait(), Ok(Some(_))));
    watch.kill()?;
    watch.wait()?;
    let heard = fs::read_to_string(HEARD)?;
    fs::remove_file(HEARD)?;
    said(file, "xenstore-rm", &["/tests"])?;
    check(set, "the watch does not fire when it is set")?;
    check(fired, "the watch does not fire")?;
    equal(heard.lines().count(), 2, "how often it fired")
}

fn xenstore_by_device() -> TestResult {
    xenstore_by("/dev/xen/xenbus")
}

fn xenstore_by_xenfs() -> TestResult {
    xenstore_by("/proc/xen/xenbus")
}

/// Streams of bytes go from one guest to another and come back. The rings are granted by the one, and mapped by the
/// other's drivers, which are those that are tested.
fn vchan_of_two_guests() -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let (streams, bytes) = (4, if boot::long() { 1 << 20 } else { 1 << 16 });
    let programs = vchan::programs().or_fail()?;
    let make = |name: &str, ours: &[&str]| {
        Guest::new(Kind::Pv)
            .named(name)
            .ours(ours)
            .files(vchan::FOLDER, programs.clone())
            .create()
            .or_fail()
    };
    let ours: &[&str] = match Words::read().drivers() {
        Drivers::Rust => &["xen-evtchn"],
        Drivers::C => &[],
    };
    let (server, client) = (make("server", &[])?, make("client", ours)?);
    let mut listening = server.agent().or_fail()?;
    let mut asking = client.agent().or_fail()?;
    // The program asks for privcmd, too: whether the other guest is still there, which is none of its business.
    for module in ["xen-gntdev", "xen-privcmd"] {
        asking.call(&format!("load {module}")).or_fail()?;
    }
    listening
        .call(&format!("proxy {} {streams}", client.id()))
        .or_fail()?;
    let begun = Instant::now();
    let sent = asking
        .call(&format!("exchange {} {streams} {bytes}", server.id()))
        .or_fail()?;
    let took = begun.elapsed();
    let there = listening.call("proxied").or_fail()?;
    equal(
        there.trim(),
        sent.trim(),
        "how many bytes the other received, and their sums",
    )?;
    line(format_args!(
        "# vchan between guests: {} bytes there and back in {} ms",
        streams * bytes,
        took.as_millis()
    ));
    client.destroy().or_fail()?;
    server.destroy().or_fail()
}
