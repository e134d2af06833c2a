// SPDX-License-Identifier: GPL-2.0

//! libvirt's driver for Xen, which uses libxl in a process that lasts and has threads.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::toolstack::{contains, run};
use crate::boot::{Drivers, Words};
use crate::domu::{self, Running};
use crate::ktap::{check, equal, fail, skip, OrFail, Suite, Test, TestResult};
use crate::sys;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "libvirt",
    tests: &[
        Test::new("pv_guest", pv_guest).seconds(300),
        Test::new("pvh_guest", pvh_guest).seconds(300),
    ],
};

const DAEMON: &str = "/usr/sbin/libvirtd";
const LOG: &str = "/tmp/libvirtd.log";
const NAME: &str = "virtual";

/// The daemon; ended when dropped.
struct Daemon(Child);

impl Daemon {
    fn start() -> TestResult<Self> {
        fs::create_dir_all("/run/libvirt")?;
        fs::create_dir_all("/var/lib/libvirt")?;
        let log = fs::File::create(LOG)?;
        let child = Command::new(DAEMON)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let daemon = Self(child);
        let ready = sys::eventually(Duration::from_secs(90), || {
            domu::output("virsh", &["-c", "xen:///system", "version"]).is_ok()
        });
        if ready {
            return Ok(daemon);
        }
        fail(format_args!(
            "the daemon does not answer: {}",
            fs::read_to_string(LOG).unwrap_or_default()
        ))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // SAFETY: Takes only numbers.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGTERM) };
        let ended = sys::eventually(Duration::from_secs(30), || {
            matches!(self.0.try_wait(), Ok(Some(_)))
        });
        if !ended {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn virsh(arguments: &[&str]) -> TestResult<String> {
    run("virsh", &[&["-c", "xen:///system"], arguments].concat())
}

fn description(machine: &str, kind: &str) -> String {
    let drivers = match Words::read().drivers() {
        Drivers::Rust => "rust",
        Drivers::C => "c",
    };
    format!(
        "<domain type='xen'><name>{NAME}</name><memory unit='MiB'>{}</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='{machine}'>{kind}</type><kernel>/guest/vmlinuz</kernel>\
         <initrd>/guest/initrd</initrd>\
         <cmdline>console=hvc0 quiet xen_rust.mode=domu xen_rust.drivers={drivers}</cmdline></os>\
         <devices><console type='pty'><target type='xen' port='0'/></console></devices></domain>",
        domu::MEMORY
    )
}

/// Has libvirt list, create, suspend, resume and destroy a guest, which answers in between.
fn life(machine: &str, kind: &str) -> TestResult {
    if !Path::new(DAEMON).exists() {
        return skip("the image has no libvirt");
    }
    if !domu::available() {
        return skip("the image has no guest");
    }
    let _daemon = Daemon::start()?;
    contains(&virsh(&["list", "--all"])?, "Domain-0")?;
    contains(&virsh(&["nodeinfo"])?, "CPU(s):")?;
    let path = "/tmp/libvirt.xml";
    fs::write(path, description(machine, kind))?;
    virsh(&["create", path])?;
    contains(&virsh(&["list"])?, NAME)?;
    contains(&virsh(&["dominfo", NAME])?, "running")?;
    let guest = Running::found(NAME).or_fail()?;
    let mut agent = guest.agent().or_fail()?;
    equal(
        agent.call("echo hello").or_fail()?.as_str(),
        "hello",
        "the answer",
    )?;
    virsh(&["suspend", NAME])?;
    contains(&virsh(&["domstate", NAME])?, "paused")?;
    virsh(&["resume", NAME])?;
    contains(&virsh(&["domstate", NAME])?, "running")?;
    virsh(&["destroy", NAME])?;
    check(domu::gone(NAME), "the guest is still there")?;
    let left = virsh(&["list", "--all"])?;
    check(
        !left.contains(NAME),
        format_args!("libvirt still has it: {left}"),
    )
}

fn pv_guest() -> TestResult {
    life("xenpv", "linux")
}

fn pvh_guest() -> TestResult {
    life("xenpvh", "xenpvh")
}
