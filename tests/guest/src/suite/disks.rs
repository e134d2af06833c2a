// SPDX-License-Identifier: GPL-2.0

//! A guest's disk, served by QEMU with grants and event channels, and by the kernel for comparison.

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::toolstack::run;
use crate::domu::{self, Guest};
use crate::ktap::{equal, line, skip, OrFail, Suite, Test, TestResult};
use crate::program;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "disks",
    tests: &[
        Test::new("qdisk_pv", qdisk_pv).seconds(400),
        Test::new("qdisk_pvh", qdisk_pvh).seconds(400),
        Test::new("blkback_pv", blkback_pv).seconds(400),
    ],
};

const QEMU: &str = "/usr/libexec/xen-qemu-system-i386";
const MAKE: &str = "/usr/sbin/mke2fs";
const CHECK: &str = "/usr/sbin/e2fsck";
/// Where the guest has them.
const FOLDER: &str = "disk";

const IMAGE: &str = "/tmp/disk.img";
const MIB: u64 = 64;

/// Who serves the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Qemu,
    Kernel,
}

/// An empty disk; gone when dropped.
struct Image;

impl Image {
    fn new(bytes: u64) -> TestResult<Self> {
        fs::File::create(IMAGE)?.set_len(bytes)?;
        Ok(Self)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(IMAGE);
    }
}

/// A loop device on an image; undone when dropped.
pub(super) struct Loop(String);

impl Loop {
    pub(super) fn new(image: &str) -> TestResult<Self> {
        let device = run("losetup", &["-f"])?.trim().to_owned();
        run("losetup", &[&device, image])?;
        Ok(Self(device))
    }

    pub(super) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = domu::output("losetup", &["-d", &self.0]);
    }
}

fn missing() -> Option<&'static str> {
    [QEMU, MAKE, CHECK]
        .into_iter()
        .find(|program| !Path::new(program).exists())
}

/// The sum in the line about a file.
fn sum(line: &str) -> &str {
    line.split_whitespace().next().unwrap_or("")
}

/// The guest makes a file system, fills it with what does not repeat, reads it again without what it has cached, and
/// checks it. Then dom0 reads what was written, and checks it too.
fn with_guest(kind: Kind, server: Server) -> TestResult {
    if let Some(program) = missing() {
        return skip(format_args!("the image has no {program}"));
    }
    let _image = Image::new(MIB << 20)?;
    let device = match server {
        Server::Qemu => None,
        Server::Kernel => Some(Loop::new(IMAGE)?),
    };
    let (backend, target) = match &device {
        None => ("qdisk", IMAGE),
        Some(device) => ("phy", device.path()),
    };
    let guest = Guest::new(kind)
        .files(FOLDER, program::with_libraries(&[MAKE, CHECK]).or_fail()?)
        .line(&format!(
            "disk = [ \"format=raw,vdev=xvda,access=rw,backendtype={backend},target={target}\" ]"
        ))
        .create()
        .or_fail()?;
    let mut agent = guest.agent().or_fail()?;
    let (make, verify) = (
        program::word(FOLDER, "mke2fs"),
        program::word(FOLDER, "e2fsck"),
    );
    let begun = Instant::now();
    agent
        .call(&format!(
            "run {make} -q -t ext4 /dev/xvda && mount -t ext4 /dev/xvda /mnt"
        ))
        .or_fail()?;
    let made = begun.elapsed();
    let written = agent
        .call(
            "run dd if=/dev/urandom of=/mnt/a bs=64k count=320 2>/dev/null && cp /mnt/a /mnt/b && sync && \
             sha256sum /mnt/a",
        )
        .or_fail()?;
    let filled = begun.elapsed();
    agent
        .call("run umount /mnt && mount -t ext4 /dev/xvda /mnt && cmp /mnt/a /mnt/b")
        .or_fail()?;
    let read = agent.call("run sha256sum /mnt/b").or_fail()?;
    equal(sum(&read), sum(&written), "what the guest reads again")?;
    agent
        .call(&format!("run umount /mnt && {verify} -f -n /dev/xvda"))
        .or_fail()?;
    line(format_args!(
        "# {server:?} serves {kind:?}: made in {} ms, 40 MiB written in {} ms, read and checked in {} ms",
        made.as_millis(),
        (filled - made).as_millis(),
        (begun.elapsed() - filled).as_millis()
    ));
    guest.destroy().or_fail()?;
    drop(device);
    run(CHECK, &["-f", "-n", IMAGE])?;
    seen_by_dom0(sum(&written))
}

fn seen_by_dom0(expected: &str) -> TestResult {
    const PLACE: &str = "/mnt";
    let device = Loop::new(IMAGE)?;
    run("mount", &["-t", "ext4", device.path(), PLACE])?;
    let found = run("sha256sum", &["/mnt/a"]);
    run("umount", &[PLACE])?;
    equal(sum(&found?), expected, "what dom0 reads")
}

fn qdisk_pv() -> TestResult {
    with_guest(Kind::Pv, Server::Qemu)
}

fn qdisk_pvh() -> TestResult {
    with_guest(Kind::Pvh, Server::Qemu)
}

fn blkback_pv() -> TestResult {
    with_guest(Kind::Pv, Server::Kernel)
}
