// SPDX-License-Identifier: GPL-2.0

//! Debian's tools on the drivers.

use std::fs;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use crate::boot::{Drivers, Words};
use crate::daemons::tool;
use crate::device::{Evtchn, Privcmd};
use crate::domu::{self, output, xl, Guest};
use crate::ktap::{check, equal, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "toolstack",
    tests: &[
        Test::new("xl_info", xl_info),
        Test::new("xl_list", xl_list),
        Test::new("xl_dmesg", xl_dmesg),
        Test::new("xenstore_tools", xenstore_tools),
        Test::new("test_resource", test_resource),
        Test::new("test_xenstore", test_xenstore).seconds(240),
        Test::new("test_paging_mempool", test_paging_mempool),
        Test::new("lsevtchn", lsevtchn),
        Test::new("xenpm", xenpm),
        Test::new("xentop", xentop),
        Test::new("xen_mfndump", xen_mfndump),
        Test::new("xentrace", xentrace),
        Test::new("depriv_fd_checker", depriv_fd_checker),
        Test::new("pv_console", pv_console).seconds(400),
        Test::new("pvh_console", pvh_console)
            .long_in(Kind::Pvh)
            .seconds(400),
        Test::new("pv_life", pv_life)
            .long_in(Kind::Pvh)
            .seconds(900),
        Test::new("pvh_life", pvh_life)
            .long_in(Kind::Pvh)
            .seconds(900),
    ],
};

/// What a tool prints; it must succeed.
pub fn run(program: &str, arguments: &[&str]) -> TestResult<String> {
    output(program, arguments).or_fail()
}

/// The text must have this in it.
pub fn contains(text: &str, part: &str) -> TestResult {
    check(text.contains(part), format_args!("no {part:?} in {text:?}"))
}

fn xl_info() -> TestResult {
    let text = run("xl", &["info"])?;
    ["xen_version", "nr_cpus", "free_memory"]
        .iter()
        .try_for_each(|part| contains(&text, part))
}

fn xl_list() -> TestResult {
    contains(&run("xl", &["list"])?, "Domain-0")
}

fn xl_dmesg() -> TestResult {
    contains(&run("xl", &["dmesg"])?, "(XEN)")
}

fn xenstore_tools() -> TestResult {
    run("xenstore-write", &["/tests/a", "one", "/tests/b", "two"])?;
    contains(&run("xenstore-read", &["/tests/b"])?, "two")?;
    contains(&run("xenstore-ls", &["/tests"])?, "a = \"one\"")?;
    run("xenstore-rm", &["/tests"])?;
    check(
        output("xenstore-read", &["/tests/b"]).is_err(),
        "a key that was removed is there",
    )
}

fn test_resource() -> TestResult {
    run(&tool("test-resource"), &[]).map(drop)
}

fn test_xenstore() -> TestResult {
    run(&tool("test-xenstore"), &[]).map(drop)
}

fn test_paging_mempool() -> TestResult {
    run(&tool("test-paging-mempool"), &[]).map(drop)
}

fn lsevtchn() -> TestResult {
    contains(&run(&tool("lsevtchn"), &["0"])?, "VCPU")
}

fn xenpm() -> TestResult {
    contains(&run(&tool("xenpm"), &["get-cpu-topology"])?, "CPU")
}

fn xentop() -> TestResult {
    contains(&run(&tool("xentop"), &["-b", "-i", "1"])?, "Domain-0")
}

fn xen_mfndump() -> TestResult {
    run(&tool("xen-mfndump"), &["dump-m2p"]).map(drop)
}

/// Maps the trace buffers, which are the hypervisor's own memory, and reads what is in them.
fn xentrace() -> TestResult {
    const FILE: &str = "/tmp/trace";
    run(&tool("xentrace"), &["-D", "-e", "all", "-T", "1", FILE])?;
    let trace = fs::read(FILE)?;
    fs::remove_file(FILE)?;
    // The first record tells which CPU those are of that follow.
    let first = trace.first_chunk().copied().map(u32::from_ne_bytes);
    equal(
        first.map(|header| header & 0x0fff_ffff),
        Some(0x0001_f003),
        "the first record's number",
    )?;
    check(trace.len() > 4096, "nothing was traced")
}

/// A restricted file passes, an open one does not.
fn depriv_fd_checker() -> TestResult {
    let checker = |restrict: bool| -> TestResult<String> {
        let (privcmd, evtchn) = (Privcmd::open()?, Evtchn::open()?);
        if restrict {
            privcmd.restrict(1)?;
            evtchn.restrict(1)?;
        }
        let mut command = Command::new(tool("depriv-fd-checker"));
        command.args(["privcmd", &privcmd.as_raw_fd().to_string(), "p"]);
        command.args(["evtchn", &evtchn.as_raw_fd().to_string(), "e"]);
        sys::keep_over_exec(&privcmd)?;
        sys::keep_over_exec(&evtchn)?;
        let output = command.stdin(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let restricted = checker(true)?;
    contains(&restricted, "privcmd pass")?;
    contains(&restricted, "evtchn pass")?;
    let open = checker(false)?;
    check(
        !open.contains("pass"),
        format_args!("open files pass: {open:?}"),
    )
}

/// Creates a guest with its console here; it says what it has to and powers off.
fn console(kind: Kind) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let guest = Guest::new(kind).command("echo,said,by,$((6*7));,cat,/proc/xen/capabilities");
    let configuration = guest.write_configuration()?;
    // The console client leaves when its input ends, so it gets one that does not.
    let (input, _keep) = sys::pipe()?;
    let output = Command::new("xl")
        .args(["create", "-c", &configuration])
        .stdin(Stdio::from(input))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    contains(&text, "said by 42")?;
    contains(&text, &format!("This is a {kind:?} guest"))?;
    check(
        domu::gone(guest.name()),
        "the guest is still there after it powered off",
    )
}

fn pv_console() -> TestResult {
    console(Kind::Pv)
}

fn pvh_console() -> TestResult {
    console(Kind::Pvh)
}

/// Pauses, looks into, saves, restores and destroys a guest, which has event channels open all the time.
fn life(kind: Kind) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    // The C driver in the guest would not live through that.
    let ours = Words::read().drivers() == Drivers::Rust;
    let modules: &[&str] = if ours { &["xen-evtchn"] } else { &[] };
    let guest = Guest::new(kind).ours(modules).create().or_fail()?;
    let id = guest.id().to_string();
    let mut agent = guest.agent().or_fail()?;
    agent
        .call("echo hello")
        .or_fail()
        .and_then(|said| contains(&said, "hello"))?;
    contains(&run("xl", &["list"])?, guest.name())?;
    contains(&run(&tool("lsevtchn"), &[&id])?, "Interdomain")?;
    contains(&run(&tool("xenctx"), &[&id, "0"])?, "rip")?;
    if kind == Kind::Pv {
        run(&tool("xen-mfndump"), &["dump-p2m", &id])?;
    }
    if ours {
        agent.call("hold").or_fail()?;
    }
    run("xl", &["pause", guest.name()])?;
    run("xl", &["unpause", guest.name()])?;
    let file = format!("/tmp/{}.save", guest.name());
    run("xl", &["save", guest.name(), &file])?;
    check(
        domu::gone(guest.name()),
        "the guest is still there after it was saved",
    )?;
    run("xl", &["restore", &file])?;
    fs::remove_file(&file)?;
    let restored = guest.again().or_fail()?;
    let mut agent = restored.agent().or_fail()?;
    agent
        .call("echo again")
        .or_fail()
        .and_then(|said| contains(&said, "again"))?;
    if ours {
        agent.call("held").or_fail()?;
    }
    super::guests::channels(&mut agent, restored.id())?;
    restored.destroy().or_fail()?;
    contains(&xl(&["list"]).or_fail()?, "Domain-0")
}

fn pv_life() -> TestResult {
    life(Kind::Pv)
}

fn pvh_life() -> TestResult {
    life(Kind::Pvh)
}
