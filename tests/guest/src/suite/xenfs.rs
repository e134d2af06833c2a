// SPDX-License-Identifier: GPL-2.0

//! The file system of `/proc/xen`.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::guests::tell;
use crate::abi::DOMID_SELF;
use crate::domu::Agent;
use crate::ktap::{check, equal, fail, FailsWith, OrFail, Suite, Test, TestResult};
use crate::sys::{self, Child, Exit, Mapping, PAGE};
use crate::xen::event::Status;
use crate::xen::Xen;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "xenfs",
    tests: &[
        Test::new("files", files),
        Test::new("nothing_else", nothing_else),
        Test::new("capabilities", capabilities),
        Test::new("capabilities_is_read_only", capabilities_is_read_only),
        Test::new("xsd_port", xsd_port),
        Test::new("xsd_kva", xsd_kva),
        Test::new("xsd_kva_one_page", xsd_kva_one_page),
        Test::new("xenbus", xenbus),
        Test::new("xensyms", xensyms),
        Test::new("xensyms_of_xen", xensyms_of_xen),
        Test::new("xensyms_in_pieces", xensyms_in_pieces),
        Test::new("modes_hold", modes_hold),
        Test::new("one_file_system", one_file_system),
        Test::new("busy_while_open", busy_while_open),
        Test::new("unmounted_while_open", unmounted_while_open),
        Test::new("mounted_again", mounted_again),
    ],
};

/// What a guest finds, which has fewer files than a dom0.
pub(super) fn in_guest(agent: &mut Agent) -> TestResult {
    for module in ["xen-privcmd", "xenfs"] {
        tell(agent, &format!("load {module}"))?;
    }
    let found = agent.call("xenfs").or_fail()?;
    for module in ["xenfs", "xen-privcmd"] {
        tell(agent, &format!("unload {module}"))?;
    }
    equal(
        found.as_str(),
        "capabilities:444 privcmd:600 xenbus:600, can: \"\"",
        "the files in a guest",
    )
}

const ROOT: &str = "/proc/xen";
const MAGIC: i64 = 0xabba_1974;
const FILES: [(&str, u32); 6] = [
    ("capabilities", 0o444),
    ("privcmd", 0o600),
    ("xenbus", 0o600),
    ("xensyms", 0o400),
    ("xsd_kva", 0o600),
    ("xsd_port", 0o600),
];

fn path(name: &str) -> String {
    format!("{ROOT}/{name}")
}

fn files() -> TestResult {
    equal(
        sys::file_system_kind(ROOT)?,
        MAGIC,
        "the file system's magic number",
    )?;
    for (name, mode) in FILES {
        let found = fs::metadata(path(name))?;
        equal(
            found.permissions().mode() & 0o7777,
            mode,
            format_args!("the mode of {name}"),
        )?;
        equal(
            (found.uid(), found.gid()),
            (0, 0),
            format_args!("the owner of {name}"),
        )?;
        check(
            found.is_file(),
            format_args!("{name} is not a regular file"),
        )?;
    }
    Ok(())
}

fn nothing_else() -> TestResult {
    let mut names: Vec<String> = fs::read_dir(ROOT)?
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    names.sort_unstable();
    equal(
        names,
        FILES.map(|(name, _)| name.to_owned()).to_vec(),
        "the files there are",
    )?;
    check(fs::write(path("other"), "").is_err(), "a file can be made")?;
    check(
        fs::create_dir(path("other")).is_err(),
        "a directory can be made",
    )
}

fn capabilities() -> TestResult {
    equal(
        fs::read_to_string(path("capabilities"))?.as_str(),
        "control_d\n",
        "what a dom0 can",
    )?;
    let file = sys::open(&path("capabilities"), libc::O_RDONLY)?;
    let mut piece = [0; 4];
    equal(
        sys::read_at(&file, &mut piece, 3)?,
        4,
        "bytes from the middle",
    )?;
    equal(&piece, b"trol", "the middle")?;
    equal(
        sys::read_at(&file, &mut piece, 10)?,
        0,
        "bytes past the end",
    )?;
    equal(sys::seek(&file, 8)?, 8, "where a seek leads")?;
    equal(sys::read(&file, &mut piece)?, 2, "bytes at the end")
}

fn capabilities_is_read_only() -> TestResult {
    // Root may open it for writing, whatever its mode; there is nothing to write to.
    let file = sys::open(&path("capabilities"), libc::O_RDWR)?;
    sys::write(&file, b"x").fails_with(libc::EINVAL)
}

fn xsd_port() -> TestResult {
    let text = fs::read_to_string(path("xsd_port"))?;
    let Ok(port) = text.parse::<u32>() else {
        return fail(format_args!("not a number: {text:?}"));
    };
    let status = Xen::open()?.port_status(DOMID_SELF, port)?;
    // The kernel's end of the channel, which xenstored is at the other end of.
    check(
        matches!(status, Status::Interdomain(0, _)),
        format_args!("port {port} is {status:?}"),
    )
}

fn xsd_kva() -> TestResult {
    let text = fs::read_to_string(path("xsd_kva"))?;
    check(
        text.starts_with("0x") && text[2..].chars().all(|c| c.is_ascii_hexdigit()),
        format_args!("{text:?}"),
    )?;
    let file = sys::open(&path("xsd_kva"), libc::O_RDWR)?;
    let page = Mapping::shared(&file, PAGE, 0)?;
    // xenstored's interface: its rings' indices move when the kernel asks something.
    let producer = || page.read_at::<u32>(2048 + 4);
    let before = producer();
    crate::xenstore::Xenstore::open()?.read("/local/domain/0/name")?;
    check(
        producer() != before,
        "the page is not the one that the kernel and xenstored share",
    )
}

fn xsd_kva_one_page() -> TestResult {
    let file = sys::open(&path("xsd_kva"), libc::O_RDWR)?;
    Mapping::shared(&file, 2 * PAGE, 0).fails_with(libc::EINVAL)?;
    Mapping::shared(&file, PAGE, PAGE as u64).fails_with(libc::EINVAL)?;
    let page = Mapping::new(
        PAGE,
        libc::PROT_READ,
        libc::MAP_SHARED,
        Some(file.as_raw_fd()),
        0,
    )?;
    drop(file);
    check(page.readable(0), "the page cannot be read")
}

fn xenbus() -> TestResult {
    let mut store = crate::xenstore::Xenstore::open_path(&path("xenbus"))?;
    equal(
        store.read("/local/domain/0/name")?.as_str(),
        "Domain-0",
        "this domain's name",
    )
}

fn xensyms() -> TestResult {
    let text = fs::read_to_string(path("xensyms"))?;
    let mut names = Vec::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let good = words.len() >= 3
            && words[0].len() == 16
            && words[0].chars().all(|c| c.is_ascii_hexdigit())
            && words[1].len() == 1
            && !words[2].is_empty();
        check(good, format_args!("not a symbol: {line:?}"))?;
        names.push(words[2]);
    }
    check(
        names.len() > 1000,
        format_args!("only {} symbols", names.len()),
    )?;
    for name in ["do_domctl", "do_memory_op", "do_event_channel_op"] {
        check(names.contains(&name), format_args!("{name} is missing"))?;
    }
    Ok(())
}

/// Symbol by symbol what Xen itself says, asked past the file system.
fn xensyms_of_xen() -> TestResult {
    let (file, xen) = (
        fs::read_to_string(path("xensyms"))?,
        Xen::open()?.symbols()?,
    );
    let other = file
        .lines()
        .zip(xen.lines())
        .find(|(ours, xens)| ours != xens);
    equal(other, None, "the first symbol that differs")?;
    equal(
        file.lines().count(),
        xen.lines().count(),
        "how many symbols there are",
    )
}

fn xensyms_in_pieces() -> TestResult {
    let whole = fs::read(path("xensyms"))?;
    let file = sys::open(&path("xensyms"), libc::O_RDONLY)?;
    let mut pieces = Vec::new();
    let mut buffer = [0; 100];
    while pieces.len() < 30_000 {
        match sys::read(&file, &mut buffer)? {
            0 => break,
            n => pieces.extend_from_slice(&buffer[..n]),
        }
    }
    check(
        pieces.len() >= 30_000,
        "the file ends early when it is read in pieces",
    )?;
    check(
        whole.starts_with(&pieces),
        "the file reads otherwise in pieces",
    )?;
    sys::seek(&file, 0)?;
    let n = sys::read(&file, &mut buffer)?;
    check(
        n > 0 && whole.starts_with(&buffer[..n]),
        "the file reads otherwise from the start again",
    )
}

fn modes_hold() -> TestResult {
    let child = Child::fork(|| {
        if sys::become_user(65534).is_err() {
            return 100;
        }
        let refused = |name: &str| {
            sys::open(&path(name), libc::O_RDONLY).err() == Some(sys::Errno(libc::EACCES))
        };
        let closed = FILES
            .iter()
            .filter(|(name, _)| *name != "capabilities")
            .all(|(name, _)| refused(name));
        let open = fs::read(path("capabilities")).is_ok();
        i32::from(!closed) + 2 * i32::from(!open)
    })?;
    equal(child.wait(), Exit::Status(0), "what another user found")
}

fn one_file_system() -> TestResult {
    let place = "/tmp/xenfs-again";
    fs::create_dir_all(place)?;
    sys::mount("none", place, "xenfs")?;
    let result = (|| {
        for (name, _) in FILES {
            let (one, other) = (
                fs::metadata(path(name))?,
                fs::metadata(format!("{place}/{name}"))?,
            );
            equal(
                (one.dev(), one.ino()),
                (other.dev(), other.ino()),
                format_args!("what {name} is"),
            )?;
        }
        Ok(())
    })();
    sys::unmount(place)?;
    result
}

fn busy_while_open() -> TestResult {
    let place = "/tmp/xenfs-busy";
    fs::create_dir_all(place)?;
    sys::mount("none", place, "xenfs")?;
    let file = sys::open(&format!("{place}/capabilities"), libc::O_RDONLY)?;
    let refused = sys::unmount(place);
    drop(file);
    let result = sys::unmount(place);
    refused.fails_with(libc::EBUSY)?;
    result?;
    Ok(())
}

/// Files that are open go on when their file system has gone from where it was mounted.
fn unmounted_while_open() -> TestResult {
    let place = "/tmp/xenfs-gone";
    fs::create_dir_all(place)?;
    sys::mount("none", place, "xenfs")?;
    let open = |name: &str, flags| sys::open(&format!("{place}/{name}"), flags);
    let symbols = open("xensyms", libc::O_RDONLY)?;
    let kva = open("xsd_kva", libc::O_RDWR)?;
    let mut first = [0; 100];
    equal(sys::read(&symbols, &mut first)?, 100, "bytes read before")?;
    let page = Mapping::shared(&kva, PAGE, 0)?;
    sys::detach(place)?;
    check(
        !fs::exists(format!("{place}/capabilities"))?,
        "the files are there without the file system",
    )?;
    let whole = fs::read(path("xensyms"))?;
    let mut next = [0; 100];
    equal(sys::read(&symbols, &mut next)?, 100, "bytes read after")?;
    check(
        whole.starts_with(&[first, next].concat()),
        "the file goes on otherwise",
    )?;
    drop((symbols, kva));
    check(page.readable(0), "the page cannot be read any more")?;
    drop(page);
    files()
}

fn mounted_again() -> TestResult {
    // Not where it belongs: xenstored has files open there.
    let place = "/tmp/xenfs-often";
    fs::create_dir_all(place)?;
    for _ in 0..20 {
        sys::mount("none", place, "xenfs")?;
        let there = fs::exists(format!("{place}/capabilities"))?;
        sys::unmount(place)?;
        check(there, "a file is missing")?;
        check(
            !fs::exists(format!("{place}/capabilities"))?,
            "the files are there without the file system",
        )?;
    }
    files()
}
