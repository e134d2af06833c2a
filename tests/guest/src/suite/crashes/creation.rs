// SPDX-License-Identifier: GPL-2.0

//! `xl create`, killed while it makes a guest.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{held_as, holders, next_works};
use crate::boot;
use crate::domu::{self, output, Guest};
use crate::ktap::{check, equal, fail, line, skip, OrFail, TestResult};
use crate::suite::SOON;
use crate::sys;
use crate::trace::{Call, Traced};
use crate::xen::{Kind, Xen};

pub fn pv() -> TestResult {
    killed(Kind::Pv, [6, 2])
}

pub fn pvh() -> TestResult {
    killed(Kind::Pvh, [3, 0])
}

/// How often xl is killed by stage and by time, where so much is asked for. With all of a guest's frames to come and go, a
/// translated domain takes several times as long.
fn scaled(asked: [usize; 2]) -> [usize; 2] {
    let asked = if boot::long() { [60, 20] } else { asked };
    match boot::kind() {
        Some(Kind::Pvh) => asked.map(|count| count.div_ceil(6)),
        _ => asked,
    }
}

/// The places of xenstore where guests have what is theirs.
const PLACES: [&str; 3] = ["/local/domain", "/vm", "/libxl"];

/// What there was before a guest was made.
struct Scene {
    xen: Xen,
    domains: Vec<u16>,
    keys: Vec<String>,
    holders: Vec<String>,
    /// How many guests have been there, whole or half.
    made: usize,
}

fn domains(xen: &Xen) -> TestResult<Vec<u16>> {
    Ok(xen.domains()?.iter().map(|info| info.domain).collect())
}

fn keys() -> Vec<String> {
    let below = |place: &&str| {
        // There is none yet before the first guest.
        let list = output("xenstore-list", &[place]).unwrap_or_default();
        let full = |key| format!("{place}/{key}");
        list.lines().map(full).collect::<Vec<_>>()
    };
    PLACES.iter().flat_map(below).collect()
}

impl Scene {
    fn now() -> TestResult<Self> {
        let holders = holders();
        let xen = Xen::open()?;
        Ok(Self {
            domains: domains(&xen)?,
            keys: keys(),
            holders,
            made: 0,
            xen,
        })
    }

    /// Does what an administrator does with half a guest: then it is all as before.
    fn clear(&mut self) -> TestResult {
        for domain in domains(&self.xen)? {
            if !self.domains.contains(&domain) {
                self.made += 1;
                domu::xl(&["destroy", &domain.to_string()]).or_fail()?;
            }
        }
        let gone = || domains(&self.xen).is_ok_and(|now| now == self.domains);
        check(sys::in_the_end(SOON, gone), "half a guest does not go")?;
        equal(keys(), self.keys.clone(), "what xenstore has of guests")?;
        held_as(&self.holders)
    }
}

/// Whether a call of a process is one by which something outside of it changes: one on a device of Xen's, or what is sent
/// to a daemon. Gives to whom.
fn reaches(pid: i32, call: &Call) -> Option<String> {
    let fd = match call.number {
        libc::SYS_ioctl
        | libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_sendmsg
        | libc::SYS_close => call.arguments[0],
        libc::SYS_mmap => call.arguments[4],
        _ => return None,
    };
    let file = fs::read_link(format!("/proc/{pid}/fd/{}", fd as i32)).ok()?;
    let file = file.to_string_lossy();
    let device = file.starts_with("/dev/xen/");
    let socket = file.starts_with("socket:") && call.number != libc::SYS_close;
    (device || socket).then(|| file.into_owned())
}

fn create(configuration: &str) -> Command {
    let mut command = Command::new("xl");
    command
        .args(["create", configuration])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// How far xl has come.
enum Came {
    /// It made a guest, and reached outside so many times for that.
    Through(usize),
    /// It was killed when it was about to make this call.
    To(String),
}

/// Has xl make a guest until it is about to reach outside for the so-manieth time.
fn until(configuration: &str, stage: usize) -> TestResult<Came> {
    let mut traced = Traced::start(&mut create(configuration))?;
    let mut count = 0;
    while let Some(call) = traced.next_call()? {
        let Some(file) = reaches(traced.pid(), &call) else {
            continue;
        };
        if count == stage {
            return Ok(Came::To(format!("call {} of {file}", call.number)));
        }
        count += 1;
    }
    Ok(Came::Through(count))
}

/// The same by time.
fn after(configuration: &str, time: Duration) -> TestResult {
    let mut xl = create(configuration).spawn()?;
    std::thread::sleep(time);
    xl.kill()?;
    xl.wait()?;
    Ok(())
}

/// xl is killed at so many of its stages, and so often in the midst of whatever it does.
fn killed(kind: Kind, asked: [usize; 2]) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let [stages, times] = scaled(asked);
    let guest = Guest::new(kind);
    let configuration = guest.write_configuration()?;
    let mut scene = Scene::now()?;

    let begun = Instant::now();
    let Came::Through(all) = until(&configuration, usize::MAX)? else {
        return fail("xl has no end");
    };
    let took = begun.elapsed();
    check(
        domu::domain_id(guest.name()).is_some(),
        "a guest whose xl is traced is not made",
    )?;
    scene.clear()?;
    line(format_args!(
        "# {kind:?}: {all} stages in {} ms",
        took.as_millis()
    ));

    for stage in (0..stages).map(|n| all * (2 * n + 1) / (2 * stages)) {
        let Came::To(what) = until(&configuration, stage)? else {
            return fail(format_args!("xl has fewer stages than {stage}"));
        };
        line(format_args!("# killed at {stage}: {what}"));
        scene.clear()?;
    }
    for n in 1..=times {
        // It takes half of that where it is not traced.
        let time = took / 2 * n as u32 / times as u32;
        line(format_args!("# killed after {} ms", time.as_millis()));
        after(&configuration, time)?;
        scene.clear()?;
    }
    line(format_args!(
        "# {} guests were there, half or whole",
        scene.made
    ));
    check(scene.made > 1, "xl was never killed in the midst of it")?;
    next_works(kind)
}
