// SPDX-License-Identifier: GPL-2.0

//! The balloon's files in sysfs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::boot::{self, Drivers, Words};
use crate::device::Privcmd;
use crate::domu::xl;
use crate::drivers::{self, MODULES};
use crate::ktap::{check, equal, fail, line, skip, FailsWith, OrFail, Suite, Test, TestResult};
use crate::resources::KernelLog;
use crate::sys::{self, Child, Exit, PAGE};
use crate::xen::{BareDomain, Kind, Xen};
use crate::xenstore::Xenstore;

mod domu;
mod moves;

pub use domu::{in_guest, MAXIMUM};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "balloon",
    tests: &[
        Test::new("attributes", attributes),
        Test::new("units_agree", units_agree),
        Test::new("target_kb", target_kb),
        Test::new("target_suffixes", target_suffixes),
        Test::new("target_of_xenstore", target_of_xenstore)
            .breaks_c("takes all memory away where a number has letters behind it"),
        Test::new("refuses_bad_numbers", refuses_bad_numbers)
            .differs_in_c("takes what it can make of it"),
        Test::new("refuses_suffix_on_kb", refuses_suffix_on_kb)
            .differs_in_c("ignores what follows the number"),
        Test::new("refuses_under_floor", refuses_under_floor).breaks_c("takes all memory away"),
        Test::new("floor_is_an_attribute", floor_is_an_attribute).breaks_c("has none"),
        Test::new("refuses_zero_delay", refuses_zero_delay).breaks_c("spins"),
        Test::new("retries_are_numbers", retries_are_numbers)
            .differs_in_c("shows the limits in hexadecimal"),
        Test::new("scrub_pages", scrub_pages),
        Test::new("scrubs", scrubs).seconds(240),
        Test::new("needs_capability", needs_capability),
        Test::new("all_need_capability", all_need_capability)
            .differs_in_c("asks for it only where a target is set"),
        Test::new("built_in", built_in),
        Test::new("back_and_forth", back_and_forth).seconds(240),
        Test::new("single_pages", moves::single_pages).seconds(300),
        Test::new("block_of_pages", moves::block_of_pages).seconds(300),
        Test::new("memory_is_sound", moves::memory_is_sound).seconds(300),
        Test::new("poll", moves::poll)
            .seconds(300)
            .breaks_c("tells nobody"),
        Test::new("refused_by_xen", moves::refused_by_xen)
            .seconds(300)
            .differs_in_c("shows the limits in hexadecimal"),
        Test::new("killed_writer", moves::killed_writer)
            .seconds(300)
            .differs_in_c("shows the limits in hexadecimal"),
        Test::new("set_under_load", moves::set_under_load).seconds(1800),
        Test::new("memory_is_added", moves::memory_is_added)
            .seconds(300)
            .unwatched()
            .breaks_c("cannot be unloaded"),
        Test::new("reload_keeps_the_target", moves::reload_keeps_the_target)
            .seconds(300)
            .breaks_c("cannot be unloaded"),
    ],
};

const ROOT: &str = "/sys/devices/system/xen_memory/xen_memory0";
/// Long enough for the balloon to move by a few MiB, wherever.
pub(super) const MOVED: Duration = Duration::from_secs(120);
pub(super) const MIB: u64 = 1024;

fn path(name: &str) -> String {
    format!("{ROOT}/{name}")
}

/// Leaves the test where there is no such interface, or it is not that of the drivers to be tested.
fn present() -> TestResult {
    if !fs::exists(ROOT)? {
        return skip("this kernel has no such interface");
    }
    let is_built_in = MODULES.iter().any(drivers::Module::is_built_in);
    if is_built_in && Words::read().drivers() == Drivers::Rust {
        return skip("this kernel has its own built in");
    }
    Ok(())
}

fn text(name: &str) -> TestResult<String> {
    Ok(fs::read_to_string(path(name))?)
}

/// A number as the file has it: decimal, and one newline.
pub(super) fn number(name: &str) -> TestResult<u64> {
    let text = text(name)?;
    match text.strip_suffix('\n').and_then(|t| t.parse().ok()) {
        Some(value) => Ok(value),
        None => fail(format_args!("{name} is not a decimal number: {text:?}")),
    }
}

fn write(name: &str, value: &str) -> sys::Result<()> {
    let file = sys::open(&path(name), libc::O_WRONLY)?;
    sys::write(&file, value.as_bytes()).map(drop)
}

/// The memory that Xen says this domain has, in KiB.
fn held() -> TestResult<u64> {
    Ok(Xen::open()?.domain_info(0)?.tot_pages * 4)
}

/// The same, once it no longer changes: a page that went counts until the last reference to it has gone.
fn settled() -> TestResult<u64> {
    let mut last = held()?;
    sys::eventually(MOVED, || {
        std::thread::sleep(super::NEVER);
        let before = std::mem::replace(&mut last, held().unwrap_or(0));
        last == before
    });
    Ok(last)
}

/// Waits until the domain's memory follows the target.
fn reached(target: u64) -> TestResult {
    sys::eventually(MOVED, || {
        number("info/current_kb").is_ok_and(|current| current == target)
    });
    equal(number("info/current_kb")?, target, "KiB reached")
}

/// Puts the target back when dropped, and waits until it is reached.
struct Restore(u64);

impl Restore {
    fn new() -> TestResult<Self> {
        present()?;
        Ok(Self(number("target_kb")?))
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        let _ = write("target_kb", &self.0.to_string());
        let _ = reached(self.0);
    }
}

fn attributes() -> TestResult {
    present()?;
    for (name, mode) in [
        ("target_kb", 0o644),
        ("target", 0o644),
        ("schedule_delay", 0o444),
        ("max_schedule_delay", 0o644),
        ("retry_count", 0o444),
        ("max_retry_count", 0o644),
        ("scrub_pages", 0o644),
        ("info/current_kb", 0o444),
        ("info/low_kb", 0o444),
        ("info/high_kb", 0o444),
    ] {
        let found = fs::metadata(path(name))?.permissions().mode() & 0o7777;
        equal(found, mode, format_args!("the mode of {name}"))?;
        number(name)?;
    }
    Ok(())
}

fn units_agree() -> TestResult {
    present()?;
    equal(
        number("target")?,
        number("target_kb")? * 1024,
        "the target in bytes",
    )?;
    let (current, held) = (number("info/current_kb")?, held()?);
    // Xen counts a few pages that the kernel does not, and the other way round.
    check(
        current.abs_diff(held) < 16 * MIB,
        format_args!("{current} KiB here, {held} KiB in Xen"),
    )
}

fn target_kb() -> TestResult {
    let restore = Restore::new()?;
    let (start, held_before) = (restore.0, held()?);
    let lower = start - 16 * MIB;
    write("target_kb", &format!("{lower}\n"))?;
    equal(number("target_kb")?, lower, "the target as it is read back")?;
    reached(lower)?;
    let given = held_before.saturating_sub(held()?);
    equal(given, 16 * MIB, "KiB that Xen got")?;
    drop(restore);
    equal(
        held()?,
        held_before,
        "KiB that Xen says are held in the end",
    )
}

fn target_suffixes() -> TestResult {
    let restore = Restore::new()?;
    let mib = restore.0 / MIB - 8;
    for value in [
        format!("{mib}M"),
        format!("{}K", mib * 1024),
        format!("{}", mib << 20),
        format!("{mib}M\n"),
    ] {
        write("target", &value)?;
        equal(
            number("target_kb")?,
            mib * MIB,
            format_args!("the target in KiB after {value:?}"),
        )?;
        write("target", &format!("{}", restore.0 * 1024))?;
    }
    Ok(())
}

fn target_of_xenstore() -> TestResult {
    let restore = Restore::new()?;
    let mut store = Xenstore::open()?;
    let lower = restore.0 - 8 * MIB;
    store.write("memory/target", &lower.to_string())?;
    let follows = sys::eventually(MOVED, || number("target_kb").is_ok_and(|t| t == lower));
    check(
        follows,
        format_args!("the target is {}, not {lower}", number("target_kb")?),
    )?;
    reached(lower)?;
    store.write("memory/target", &restore.0.to_string())?;
    check(
        sys::eventually(MOVED, || number("target_kb").is_ok_and(|t| t == restore.0)),
        "the target does not go back",
    )?;
    // What is no number changes nothing.
    for bad in ["", "much", "-1", "12x"] {
        store.write("memory/target", bad)?;
    }
    std::thread::sleep(super::NEVER);
    equal(
        number("target_kb")?,
        restore.0,
        "the target after bad ones in xenstore",
    )?;
    store.write("memory/target", &restore.0.to_string())?;
    Ok(())
}

/// A file refuses a text, and its value stays.
fn refuses(name: &str, value: &str) -> TestResult {
    let before = text(name)?;
    let result = write(name, value);
    let after = text(name)?;
    let refused = matches!(result, Err(sys::Errno(libc::EINVAL | libc::ERANGE)));
    check(refused, format_args!("{name} gave {result:?} to {value:?}"))?;
    equal(after, before, format_args!("{name} after {value:?}"))
}

fn refuses_bad_numbers() -> TestResult {
    let restore = Restore::new()?;
    let good = restore.0;
    for name in [
        "target_kb",
        "target",
        "max_schedule_delay",
        "max_retry_count",
    ] {
        for value in [
            "\n",
            " ",
            "x",
            "-1",
            "99999999999999999999",
            "18446744073709551616",
            &format!("{good} "),
            &format!("{good} 1"),
            &format!("{good}x"),
            &format!("{good}\n\n"),
            &format!("{good}\0"),
            &format!("{good}\n1"),
        ] {
            refuses(name, value)?;
        }
    }
    for value in [
        "1MM",
        "M",
        "1Q",
        "1 M",
        "99999999999999999G",
        "18446744073709551615K",
    ] {
        refuses("target", value)?;
    }
    // More than any machine has.
    refuses("target_kb", "18446744073709551615")?;
    refuses("target_kb", "18014398509481985")
}

fn refuses_suffix_on_kb() -> TestResult {
    let restore = Restore::new()?;
    refuses("target_kb", &format!("{}K", restore.0))?;
    refuses("target_kb", &format!("{}M", restore.0 / 1024))
}

fn refuses_under_floor() -> TestResult {
    let _restore = Restore::new()?;
    for value in ["0", "1", "4", "1024"] {
        let before = text("target_kb")?;
        equal(
            write("target_kb", value),
            Err(sys::Errno(libc::ERANGE)),
            format_args!("the answer to {value}"),
        )?;
        equal(text("target_kb")?, before, "the target afterwards")?;
        equal(
            write("target", value),
            Err(sys::Errno(libc::ERANGE)),
            format_args!("the answer to {value} bytes"),
        )?;
    }
    Ok(())
}

/// The attribute that says how little is enough.
fn floor() -> TestResult<String> {
    for entry in fs::read_dir(ROOT)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.contains("floor") || name.starts_with("min") {
            return Ok(name);
        }
    }
    fail("no attribute tells the floor")
}

fn floor_is_an_attribute() -> TestResult {
    let restore = Restore::new()?;
    let name = floor()?;
    let before = number(&name)?;
    check(
        before > 0 && before < restore.0,
        format_args!("a floor of {before} KiB"),
    )?;
    let raised = restore.0 - 4 * MIB;
    write(&name, &raised.to_string())?;
    let result = write("target_kb", &(raised - MIB).to_string());
    write(&name, &before.to_string())?;
    equal(number(&name)?, before, "the floor")?;
    equal(
        result,
        Err(sys::Errno(libc::ERANGE)),
        "the answer to a target under the raised floor",
    )?;
    refuses(&name, "much")
}

fn refuses_zero_delay() -> TestResult {
    present()?;
    let before = text("max_schedule_delay")?;
    equal(
        write("max_schedule_delay", "0"),
        Err(sys::Errno(libc::ERANGE)),
        "the answer to a delay of nothing",
    )?;
    equal(text("max_schedule_delay")?, before, "the delay afterwards")
}

fn retries_are_numbers() -> TestResult {
    present()?;
    for name in ["max_schedule_delay", "max_retry_count"] {
        let before = number(name)?;
        write(name, &format!("{}\n", before + 7))?;
        equal(number(name)?, before + 7, name)?;
        write(name, &before.to_string())?;
    }
    for name in ["schedule_delay", "retry_count", "info/current_kb"] {
        check(
            write(name, "1").is_err() || text(name)? != "1\n",
            format_args!("{name} can be written"),
        )?;
    }
    Ok(())
}

fn scrub_pages() -> TestResult {
    present()?;
    equal(
        text("scrub_pages")?.as_str(),
        "1\n",
        "whether pages are scrubbed at first",
    )?;
    write("scrub_pages", "0")?;
    equal(
        text("scrub_pages")?.as_str(),
        "0\n",
        "whether pages are scrubbed",
    )?;
    write("scrub_pages", "1\n")?;
    equal(
        text("scrub_pages")?.as_str(),
        "1\n",
        "whether pages are scrubbed",
    )
}

/// What is in a page is cleared before it goes, and is not if that is turned off.
fn scrubs() -> TestResult {
    /// Pages that Xen has for its own use meanwhile.
    const SPARE: usize = 1024;

    present()?;
    if boot::poisons_pages() {
        return skip("the kernel overwrites what is freed");
    }
    // Nearly all that is nobody's: another domain then gets pages that were given to Xen since.
    let others = BareDomain::new(Kind::Pv)?;
    others.populate(free_in_xen()?.saturating_sub(SPARE))?;

    write("scrub_pages", "0")?;
    let left = leaves_with(0x0be7_0be7_0be7_0be7);
    write("scrub_pages", "1")?;
    check(
        left? > 0,
        "no page left with what was in it: where they went was not looked at",
    )?;
    equal(
        leaves_with(0x5ec7_e75e_c7e7_5ec7)?,
        0,
        "pages that left with what was in them",
    )
}

/// How many pages Xen has that are nobody's.
fn free_in_xen() -> TestResult<usize> {
    let info = xl(&["info"]).or_fail()?;
    let mib = info
        .lines()
        .find_map(|line| line.strip_prefix("free_memory")?.split(':').nth(1))
        .and_then(|mib| mib.trim().parse::<usize>().ok());
    match mib {
        Some(mib) => Ok(mib * 256),
        None => fail(format_args!("xl info tells of no free memory: {info:?}")),
    }
}

/// Fills pages, gives some to Xen, has another domain take them, and counts those that have in them what was there.
fn leaves_with(secret: u64) -> TestResult<usize> {
    const ROUNDS: u64 = 16;
    /// Pages that go each time.
    const GIVEN: u64 = 32;
    /// Pipes that are filled with as many bytes as they take.
    const PIPES: usize = 8;
    const FILL: usize = 64 << 10;

    let restore = Restore::new()?;
    let domain = BareDomain::new(Kind::Pv)?;
    let bytes = secret.to_ne_bytes().repeat(FILL / size_of::<u64>());
    for round in 1..=ROUNDS {
        // A CPU hands out first what was freed last, and the kernel keeps apart what it cannot move: the pages
        // of a pipe are of the kind that the balloon asks for.
        let pipes = (0..PIPES)
            .map(|_| sys::pipe())
            .collect::<sys::Result<Vec<_>>>()?;
        for (_, end) in &pipes {
            equal(sys::write(end, &bytes)?, FILL, "bytes that a pipe takes")?;
        }
        drop(pipes);
        let target = restore.0 - round * GIVEN * 4;
        write("target_kb", &target.to_string())?;
        reached(target)?;
    }
    let frames = domain.populate(free_in_xen()?)?;
    let memory = Privcmd::open()?.map_frames(domain.id(), &frames)?;
    let found = (0..frames.len())
        .filter(|page| memory.read_at::<u64>(page * PAGE + 512) == secret)
        .count();
    drop(memory);
    check(
        domain.destroyed_within(MOVED)?,
        "the domain that took the pages stays",
    )?;
    line(format_args!(
        "# {found} of {} pages came with what was in them",
        frames.len()
    ));
    Ok(found)
}

/// One without the capability cannot write this to the file.
fn refused_without_capability(name: &str, value: &str) -> TestResult {
    const CAP_SYS_ADMIN: u32 = 21;
    let child = Child::fork(|| {
        if sys::drop_capability(CAP_SYS_ADMIN).is_err() {
            return 100;
        }
        i32::from(write(name, value) != Err(sys::Errno(libc::EPERM)))
    })?;
    equal(
        child.wait(),
        Exit::Status(0),
        format_args!("what one without the capability could do to {name}"),
    )
}

fn needs_capability() -> TestResult {
    let restore = Restore::new()?;
    let same = restore.0.to_string();
    refused_without_capability("target_kb", &same)?;
    refused_without_capability("target", &same)
}

/// Every file that can be written to: one without the capability cannot write what is in it already.
fn all_need_capability() -> TestResult {
    present()?;
    for name in [
        "target_kb",
        "target",
        "floor_kb",
        "max_schedule_delay",
        "max_retry_count",
        "scrub_pages",
    ] {
        refused_without_capability(name, &text(name)?)?;
    }
    Ok(())
}

/// Where the kernel has its interface built in there is nothing to load, and the kernel's log says so.
fn built_in() -> TestResult {
    let Some(module) = MODULES.iter().find(|m| m.is_built_in()) else {
        return skip("this kernel has no interface of its own");
    };
    if Words::read().drivers() == Drivers::C {
        return skip("there is no such module");
    }
    let log = KernelLog::from_now()?;
    sys::load_module(&module.file(Drivers::Rust), "").fails_with(libc::EBUSY)?;
    let said = log.new_lines();
    let about: Vec<_> = said.iter().filter(|l| l.contains("xen_balloon")).collect();
    check(
        about.len() == 1 && about[0].contains("CONFIG_XEN_BALLOON"),
        format_args!("the log says {about:?}"),
    )?;
    check(!module.is_loaded(), "the module is there")?;
    // What the kernel has goes on.
    number("target_kb").map(drop)
}

fn back_and_forth() -> TestResult {
    let restore = Restore::new()?;
    let held_before = settled()?;
    for i in 1..=super::scaled(16) as u64 {
        // Changed again before it is reached, now and then.
        write("target_kb", &(restore.0 - (i % 5) * 2 * MIB).to_string())?;
        if i % 3 == 0 {
            reached(restore.0 - (i % 5) * 2 * MIB)?;
        }
    }
    drop(restore);
    equal(
        settled()?,
        held_before,
        "KiB that Xen says are held in the end",
    )
}
