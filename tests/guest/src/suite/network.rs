// SPDX-License-Identifier: GPL-2.0

//! A guest's network interface, which Debian's script puts on a bridge of dom0's.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::toolstack::{contains, run};
use crate::domu::{self, Guest};
use crate::ktap::{equal, line, skip, OrFail, Suite, Test, TestResult};
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "network",
    tests: &[
        Test::new("pv", pv).seconds(300),
        Test::new("pvh", pvh).long_in(Kind::Pvh).seconds(300),
    ],
};

/// What the script is interpreted by.
const BASH: &str = "/usr/bin/bash";
const FILE: &str = "/tmp/transfer";

/// A bridge with dom0's own address; gone when dropped.
struct Bridge;

impl Bridge {
    const NAME: &'static str = "xenbr0";

    fn new() -> TestResult<Self> {
        run("ip", &["link", "add", Self::NAME, "type", "bridge"])?;
        let bridge = Self;
        run("ip", &["addr", "add", "10.77.0.1/24", "dev", Self::NAME])?;
        run("ip", &["link", "set", Self::NAME, "up"])?;
        Ok(bridge)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = domu::output("ip", &["link", "del", Self::NAME]);
    }
}

/// Each side reaches the other, and a file comes through whole.
fn with_guest(kind: Kind) -> TestResult {
    const KIB: u64 = 8 << 10;

    if !Path::new(BASH).exists() {
        return skip("the image has no bash");
    }
    let _bridge = Bridge::new()?;
    let guest = Guest::new(kind)
        .line("vif = [ \"bridge=xenbr0,script=vif-bridge\" ]")
        .create()
        .or_fail()?;
    let mut agent = guest.agent().or_fail()?;
    agent
        .call("run ifconfig eth0 10.77.0.2 netmask 255.255.255.0 up")
        .or_fail()?;
    let heard = agent.call("run ping -c 5 -w 30 10.77.0.1").or_fail()?;
    contains(&heard, "5 packets received")?;
    contains(
        &run("ping", &["-c", "5", "-w", "30", "10.77.0.2"])?,
        "5 received",
    )?;
    contains(&run("xl", &["network-list", guest.name()])?, "vif")?;

    run(
        "dd",
        &[
            "if=/dev/urandom",
            &format!("of={FILE}"),
            "bs=1k",
            &format!("count={KIB}"),
        ],
    )?;
    let sum = run("sha256sum", &[FILE])?;
    let mut server = Command::new("busybox")
        .args(["nc", "-l", "-p", "7777"])
        .stdin(fs::File::open(FILE)?)
        .stdout(Stdio::null())
        .spawn()?;
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    // The end of the client's input would end the server, too.
    let theirs = agent.call("run mkfifo /tmp/silent; nc 10.77.0.1 7777 <> /tmp/silent | sha256sum");
    let took = begun.elapsed();
    server.kill()?;
    server.wait()?;
    fs::remove_file(FILE)?;
    let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
    equal(
        first(&theirs.or_fail()?),
        first(&sum),
        "what the guest received",
    )?;
    line(format_args!(
        "# to the {kind:?} guest: {KIB} KiB in {} ms",
        took.as_millis()
    ));
    guest.destroy().or_fail()
}

fn pv() -> TestResult {
    with_guest(Kind::Pv)
}

fn pvh() -> TestResult {
    with_guest(Kind::Pvh)
}
