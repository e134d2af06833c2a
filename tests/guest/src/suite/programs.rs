// SPDX-License-Identifier: GPL-2.0

//! Every program of Debian's xen-utils, and what it does here: docs/clients.md has the table.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::toolstack::contains;
use crate::daemons::tool;
use crate::domu::{self, Guest, Running};
use crate::ktap::{check, equal, fail, line, skip, OrFail, Suite, Test, TestResult};
use crate::sys;
use crate::xen::Kind;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "programs",
    tests: &[
        Test::new("all_are_known", all_are_known),
        Test::new("alone", alone).seconds(300),
        Test::new("of_a_pv_guest", of_a_pv_guest)
            .with_clients()
            .seconds(300),
        Test::new("of_a_pvh_guest", of_a_pvh_guest)
            .with_clients()
            .long_in(Kind::Pvh)
            .seconds(300),
    ],
};

/// Whom a program is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// Nobody, or dom0.
    Host,
    /// A guest, whose number takes the place of `@` among the arguments.
    Guest(Kind),
}

/// What a program does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// It does what it is for, and says this.
    Works(On, &'static [&'static str], &'static str),
    /// It cannot run here: it ends with this status and says why.
    Refuses(On, &'static [&'static str], i32, &'static str),
    /// It serves others until it is told to end by this signal.
    Serves(On, &'static [&'static str], i32),
    /// Another test has it work.
    Elsewhere,
    /// It harms what the other tests need, or itself.
    Harms,
}

use Does::{Elsewhere, Harms, Refuses, Serves, Works};
use On::Host;

const PV: On = On::Guest(Kind::Pv);
const PVH: On = On::Guest(Kind::Pvh);

/// What the tests need besides. Programs whose interpreter the image lacks are left out.
const PYTHON: &str = "/usr/lib/xen-4.20/lib/python";

const PROGRAMS: &[(&str, &[Does])] = &[
    (
        "convert-legacy-stream",
        &[Works(Host, &["--help"], "Usage")],
    ),
    ("depriv-fd-checker", &[Elsewhere]),
    (
        "flask-get-bool",
        &[Refuses(Host, &["-a"], 2, "Function not implemented")],
    ),
    (
        "flask-getenforce",
        &[Refuses(Host, &[], 255, "Operation not permitted")],
    ),
    (
        "flask-label-pci",
        &[Refuses(
            Host,
            &["0000:00:1f.2", "label"],
            2,
            "Unable to set context",
        )],
    ),
    (
        "flask-loadpolicy",
        &[Refuses(
            Host,
            &["/etc/passwd"],
            0,
            "Operation not permitted",
        )],
    ),
    (
        "flask-set-bool",
        &[Refuses(Host, &["name", "1"], 2, "Function not implemented")],
    ),
    (
        "flask-setenforce",
        &[Refuses(Host, &["1"], 255, "Operation not permitted")],
    ),
    (
        "init-xenstore-domain",
        &[Refuses(
            Host,
            &["--kernel", "/guest/vmlinuz", "--memory", "32"],
            1,
            "Xenbus setup ioctl failed",
        )],
    ),
    ("libxl-save-helper", &[Elsewhere]),
    (
        "lsevtchn",
        &[
            Works(Host, &["0"], "VCPU 0: Virtual IRQ"),
            Works(PV, &["@"], "Interdomain"),
        ],
    ),
    ("oxenstored", &[Elsewhere]),
    ("pygrub", &[Refuses(Host, &["/etc/passwd"], 1, "")]),
    (
        "readnotes",
        &[Works(Host, &["/guest/vmlinuz"], "GUEST_OS: linux")],
    ),
    (
        "test-cpu-policy",
        &[Works(Host, &[], "CPU Policy unit tests")],
    ),
    ("test-paging-mempool", &[Works(Host, &[], "")]),
    ("test-resource", &[Works(Host, &[], "")]),
    ("test-tsx", &[Works(Host, &[], "TSX tests")]),
    ("test-xenstore", &[Elsewhere]),
    ("vchan-socket-proxy", &[Elsewhere]),
    ("verify-stream-v2", &[Works(Host, &["--help"], "Usage")]),
    ("xen-9pfsd", &[Serves(Host, &[], libc::SIGTERM)]),
    (
        "xen-access",
        &[
            Refuses(PVH, &["@", "write"], 255, "setting default mem access type"),
            Refuses(PV, &["@", "write"], 1, "Invalid argument"),
        ],
    ),
    ("xen-cpuid", &[Works(Host, &["-p"], "Raw policy: ")]),
    (
        "xen-diag",
        &[Works(PV, &["gnttab_query_size", "@"], "nr_frames=")],
    ),
    (
        "xen-hptool",
        &[Works(Host, &["mem-status", "0"], "Memory Status 0")],
    ),
    ("xen-hvmcrash", &[Elsewhere]),
    (
        "xen-hvmctx",
        &[
            Works(PVH, &["@"], "HVM save record for domain"),
            Refuses(PV, &["@"], 1, "can't get record length"),
        ],
    ),
    ("xen-init-dom0", &[Elsewhere]),
    ("xen-kdd", &[Refuses(Host, &[], 1, "usage: kdd")]),
    (
        "xen-livepatch",
        &[Works(Host, &["list"], "Nothing to list")],
    ),
    ("xen-lowmemd", &[Serves(Host, &[], libc::SIGTERM)]),
    ("xen-mceinj", &[Harms]),
    (
        "xen-memshare",
        &[Refuses(
            PVH,
            &["enable", "@"],
            255,
            "Function not implemented",
        )],
    ),
    (
        "xen-mfndump",
        &[Elsewhere, Works(PV, &["dump-p2m", "@"], "P2M")],
    ),
    (
        "xen-ucode",
        &[Works(Host, &["show-cpu-info"], "CPU signature")],
    ),
    (
        "xen-vmtrace",
        &[Refuses(
            PVH,
            &["@", "0"],
            1,
            "xenforeignmemory_resource_size(): Invalid argument",
        )],
    ),
    (
        "xenconsole",
        &[Works(Host, &["--help"], "Usage"), Elsewhere],
    ),
    ("xenconsoled", &[Elsewhere]),
    (
        "xencov",
        &[Refuses(Host, &["read"], 1, "Operation not supported")],
    ),
    (
        "xenctx",
        &[
            Works(PV, &["@", "0"], "rip: "),
            Works(PVH, &["@", "0"], "rip: "),
        ],
    ),
    ("xendomains", &[Refuses(Host, &["status"], 3, "[unused]")]),
    (
        "xenlockprof",
        &[Refuses(Host, &[], 1, "Function not implemented")],
    ),
    (
        "xenpaging",
        &[Refuses(
            PVH,
            &["-d", "@", "-f", "/tmp/paging", "-m", "90000"],
            1,
            "Function not implemented",
        )],
    ),
    (
        "xenperf",
        &[Refuses(Host, &[], 1, "Function not implemented")],
    ),
    ("xenpm", &[Works(Host, &["get-cpu-topology"], "CPU0")]),
    ("xenstore-control", &[Works(Host, &["check"], "OK")]),
    ("xenstored", &[Elsewhere]),
    ("xentop", &[Works(Host, &["-b", "-i", "1"], "Domain-0")]),
    ("xentrace", &[Elsewhere]),
    ("xentrace_setsize", &[Harms]),
    (
        "xenwatchdogd",
        &[Serves(Host, &["--foreground", "300", "60"], libc::SIGUSR1)],
    ),
    ("xl", &[Works(Host, &["info"], "xen_version")]),
];

/// How long a program may take, and how long one that serves is watched.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_secs(1);

fn folder() -> String {
    tool("")
}

/// Whether the image has what a script is interpreted by.
fn can_start(program: &str) -> TestResult<bool> {
    let content = fs::read(program)?;
    let Some(first) = content.strip_prefix(b"#!") else {
        return Ok(true);
    };
    let first = first.split(|&byte| byte == b'\n').next().unwrap_or(first);
    let text = String::from_utf8_lossy(first);
    let mut words = text.split_whitespace();
    let interpreter = words.next().unwrap_or("");
    Ok(Path::new(interpreter).exists())
}

/// The table has the programs that are there, and no others.
fn all_are_known() -> TestResult {
    let there: BTreeSet<String> = fs::read_dir(folder())?
        .flatten()
        // Links to packages that are not installed.
        .filter(|entry| entry.path().exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    if there.is_empty() {
        return skip("the image has no such programs");
    }
    let known: BTreeSet<String> = PROGRAMS.iter().map(|(name, _)| (*name).into()).collect();
    equal(
        there.difference(&known).collect(),
        Vec::new(),
        "programs without a row",
    )?;
    equal(
        known.difference(&there).collect(),
        Vec::new(),
        "rows without a program",
    )
}

/// How a program ended, if it did, and what it said.
struct Ran {
    status: Option<ExitStatus>,
    said: String,
}

/// Runs a program, and ends it if it goes on after that time.
fn run(program: &str, arguments: &[String], time: Duration, signal: i32) -> TestResult<Ran> {
    const SAID: &str = "/tmp/said";
    let file = fs::File::create(SAID)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("PYTHONPATH", PYTHON)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()?;
    let mut status = None;
    sys::eventually(time, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if status.is_none() {
        // SAFETY: Takes only numbers.
        unsafe { libc::kill(child.id() as i32, signal) };
        let ended = sys::eventually(PATIENCE, || matches!(child.try_wait(), Ok(Some(_))));
        if !ended {
            child.kill()?;
            child.wait()?;
            return fail(format_args!("{program} does not heed a signal"));
        }
    }
    let said = String::from_utf8_lossy(&fs::read(SAID)?).into_owned();
    fs::remove_file(SAID)?;
    Ok(Ran { status, said })
}

/// Runs a program as a row says; tells what was otherwise.
fn judge(program: &str, does: Does, guest: &str) -> TestResult<Option<String>> {
    let (arguments, status, says, time, signal) = match does {
        Works(_, arguments, says) => (arguments, Some(0), says, PATIENCE, libc::SIGTERM),
        Refuses(_, arguments, status, says) => {
            (arguments, Some(status), says, PATIENCE, libc::SIGTERM)
        }
        Serves(_, arguments, signal) => (arguments, None, "", GLANCE, signal),
        Elsewhere | Harms => return Ok(None),
    };
    let arguments: Vec<String> = arguments
        .iter()
        .map(|word| {
            if *word == "@" {
                guest.into()
            } else {
                (*word).into()
            }
        })
        .collect();
    let ran = run(program, &arguments, time, signal)?;
    let ended = ran.status.map(|status| status.code());
    let as_told = ended == status.map(Some);
    let head = |text: &str| text.chars().take(300).collect::<String>();
    Ok((!as_told || !ran.said.contains(says)).then(|| {
        format!(
            "{program} {}: ended with {ended:?}, expected {status:?} and {says:?}: {:?}",
            arguments.join(" "),
            head(&ran.said)
        )
    }))
}

/// Runs all that is for this one.
fn all_on(on: On, guest: &str) -> TestResult {
    let mut wrong = Vec::new();
    for (name, rows) in PROGRAMS {
        for &does in *rows {
            let wanted = match does {
                Works(whom, ..) | Refuses(whom, ..) | Serves(whom, ..) => whom == on,
                Elsewhere | Harms => false,
            };
            let program = format!("{}{name}", folder());
            if !wanted || !Path::new(&program).exists() {
                continue;
            }
            if !can_start(&program)? {
                line(format_args!(
                    "# {name}: the image has no interpreter for it"
                ));
                continue;
            }
            wrong.extend(judge(&program, does, guest)?);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    fail(wrong.join("\n"))
}

fn alone() -> TestResult {
    all_on(Host, "")
}

fn with(kind: Kind) -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    let guest: Running = Guest::new(kind).create().or_fail()?;
    // By then its kernel has set up what the programs look at.
    guest.agent().or_fail()?;
    all_on(On::Guest(kind), &guest.id().to_string())?;
    match kind {
        Kind::Pvh => crashed(&guest),
        Kind::Pv => guest.destroy().or_fail(),
    }
}

/// Has a program end a guest, which goes as its configuration says.
fn crashed(guest: &Running) -> TestResult {
    let ran = run(
        &tool("xen-hvmcrash"),
        &[guest.id().to_string()],
        PATIENCE,
        libc::SIGTERM,
    )?;
    contains(&ran.said, "Injecting #DF")?;
    check(domu::gone(guest.name()), "the guest goes on")
}

fn of_a_pv_guest() -> TestResult {
    with(Kind::Pv)
}

fn of_a_pvh_guest() -> TestResult {
    with(Kind::Pvh)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page's table, by program: what it says of each.
    fn page() -> Vec<(String, String)> {
        let page = include_str!("../../../../docs/clients.md");
        page.lines()
            .skip_while(|l| !l.starts_with("| program |"))
            .take_while(|l| l.starts_with('|'))
            .filter_map(|l| l.strip_prefix("| `"))
            .filter_map(|l| l.split_once("` | "))
            .map(|(name, rest)| (name.into(), rest.split(" | ").next().unwrap_or("").into()))
            .collect()
    }

    #[test]
    fn the_page_has_them_all() {
        let verdict = |rows: &[Does]| match rows {
            _ if rows
                .iter()
                .any(|row| matches!(row, Works(..) | Serves(..) | Elsewhere)) =>
            {
                "works"
            }
            _ => "cannot run here",
        };
        let expected: Vec<(String, String)> = PROGRAMS
            .iter()
            .map(|(name, rows)| ((*name).into(), verdict(rows).into()))
            .collect();
        assert_eq!(page(), expected);
    }
}
