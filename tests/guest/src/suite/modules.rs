// SPDX-License-Identifier: GPL-2.0

//! The modules: whose they are, loading and unloading. It ends the daemons, so it comes last.

use std::fs;
use std::os::unix::fs::symlink;

use super::gntdev::{copy, each_grantor, Grantor};
use super::guests::{channels, tell};
use super::toolstack::{contains, run};
use super::SOON;
use crate::abi::gntdev::{GNTST_OKAY, NOTIFY_SEND_EVENT};
use crate::boot::{Drivers, Words};
use crate::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use crate::domu::{self, Console, Guest, Running};
use crate::drivers::{self, Module, BALLOON, MODULES};
use crate::ktap::{check, equal, fail, line, skip, OrFail, Suite, Test, TestResult};
use crate::resources::free_memory;
use crate::sys::{self, Errno, Mapping, PAGE};
use crate::xen::{BareDomain, Kind, XEN_VERSION};
use crate::{boot, daemons, exchange};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "modules",
    tests: &[
        Test::new("whose", whose),
        Test::new("loaded_twice", loaded_twice),
        Test::new("in_use", in_use).unwatched(),
        Test::new("drivers_exchanged", drivers_exchanged).seconds(600),
        Test::new("reload_balloon", reload_balloon)
            .unwatched()
            .seconds(3600),
        Test::new("daemons_let_go", daemons_let_go).unwatched(),
        Test::new("unload", unload).unwatched(),
        Test::new("reload", reload).unwatched().seconds(7200),
        Test::new("in_use_by_a_range", in_use_by_a_range).unwatched(),
        Test::new("in_use_by_a_channel", in_use_by_a_channel).unwatched(),
        Test::new("autoload", autoload).unwatched(),
        Test::new("mixed_with_c", mixed_with_c).unwatched(),
    ],
};

fn drivers_here() -> Drivers {
    Words::read().drivers()
}

fn of_here() -> impl DoubleEndedIterator<Item = &'static Module> {
    let loaded: Vec<_> = drivers::of(drivers_here()).collect();
    loaded.into_iter()
}

fn load(module: &Module, drivers: Drivers) -> TestResult {
    module.load(drivers).or_fail()
}

/// Unloads what is loaded.
pub(super) fn unload_all() -> TestResult {
    drivers::unload_all().or_fail()
}

/// Loads the drivers, but for the balloon's: that is loaded anew among its own tests, while there is a xenstored.
fn load_all(drivers: Drivers) -> TestResult {
    drivers::load_all(drivers).or_fail()
}

fn whose() -> TestResult {
    for module in MODULES.iter().filter(|m| m.is_loaded()) {
        equal(
            module.is_ours(),
            drivers_here() == Drivers::Rust,
            format_args!("{} is ours", module.name),
        )?;
    }
    check(of_here().all(Module::is_loaded), "a driver is not loaded")
}

fn loaded_twice() -> TestResult {
    for module in of_here() {
        let result = sys::load_module(&module.file(drivers_here()), "");
        equal(
            result,
            Err(Errno(libc::EEXIST)),
            format_args!("loading {} again", module.name),
        )?;
    }
    Ok(())
}

/// A module that someone uses stays. (The system call says EAGAIN; rmmod makes EBUSY of it.)
fn stays(name: &str) -> TestResult {
    let result = sys::unload_module(name);
    check(
        matches!(result, Err(Errno(libc::EAGAIN | libc::EBUSY))),
        format_args!("unloading {name}, which is in use, gave {result:?}"),
    )
}

fn in_use() -> TestResult {
    let files = (
        Evtchn::open()?,
        Privcmd::open()?,
        HypercallBuffer::open()?,
        Gntdev::open()?,
    );
    for name in ["xen_evtchn", "xen_privcmd", "xen_gntdev", "xenfs"] {
        stays(name)?;
    }
    drop(files);
    Ok(())
}

/// While there is a xenstored: the balloon takes leave of it.
pub(super) fn unload_balloon() -> TestResult {
    let loaded = MODULES.iter().find(|m| m.name == BALLOON && m.is_loaded());
    Ok(loaded.map_or(Ok(()), |m| sys::unload_module(&m.kernel_name()))?)
}

/// Waits until the guest counts on, on its console; gives where it is.
fn counted(guest: &Running) -> TestResult<u32> {
    let number = |line: &str| line.trim().strip_prefix("count ")?.parse().ok();
    match Console::of(guest.name())?.find(SOON, number) {
        Some(number) => Ok(number),
        None => fail("the guest does not count on its console"),
    }
}

/// All drivers are exchanged for the other ones and back, while a guest runs. xenstored keeps its contents over that, see
/// [`crate::exchange`]. What the guest says on its console meanwhile waits in its own memory for the next xenconsoled.
fn drivers_exchanged() -> TestResult {
    if !domu::available() {
        return skip("the image has no guest");
    }
    if boot::has_lockdep() {
        return skip("lockdep reports C's gntdev: the mmap lock is taken with its own held, and the other way round");
    }
    let guest = Guest::new(Kind::Pv).named("exchange");
    // Who waits for its end would hold privcmd.
    let guest = guest.create_unguarded().or_fail()?;
    let mut agent = guest.agent().or_fail()?;
    let counting = "n=0; while true; do n=$((n+1)); echo count $n; sleep 1; done";
    tell(
        &mut agent,
        &format!("run ({counting}) >/dev/console 2>&1 &"),
    )?;
    let xenstored = daemons::pid("xenstored");
    let mut last = counted(&guest)?;
    unload_balloon()?;
    for (set, word) in [(drivers_here().other(), "other"), (drivers_here(), "own")] {
        exchange(set)?;
        equal(
            daemons::pid("xenstored"),
            xenstored,
            "the number of xenstored's process",
        )?;
        daemons::start_console().or_fail()?;
        let now = counted(&guest)?;
        check(
            now > last,
            format_args!("the guest counts {last}, then {now}"),
        )?;
        last = now;
        equal(
            agent.call(&format!("echo {word}")).or_fail()?.as_str(),
            word,
            "what the guest says",
        )?;
        channels(&mut agent, guest.id())?;
        contains(&run("xl", &["list"])?, guest.name())?;
    }
    guest.destroy().or_fail()?;
    of_here()
        .find(|m| m.name == BALLOON)
        .map_or(Ok(()), |m| load(m, drivers_here()))
}

/// Updates xenstored by a program that exchanges the drivers.
fn exchange(set: Drivers) -> TestResult {
    const PROGRAM: &str = "/tmp/exchange-drivers";

    check(
        daemons::kill("xenconsoled"),
        "the console daemon does not end",
    )?;
    for path in [PROGRAM, exchange::RESULT] {
        // It may be there from before.
        let _ = fs::remove_file(path);
    }
    symlink(std::env::current_exe()?, PROGRAM)?;
    run("xenstore-control", &["live-update", PROGRAM])?;
    fs::remove_file(PROGRAM)?;
    equal(
        fs::read_to_string(exchange::RESULT)?.as_str(),
        exchange::DONE,
        "how the exchange went",
    )?;
    for module in drivers::of(set).filter(|m| m.name != BALLOON) {
        check(
            module.is_loaded() && module.is_ours() == (set == Drivers::Rust),
            format_args!("{} was not exchanged", module.name),
        )?;
    }
    Ok(())
}

fn daemons_let_go() -> TestResult {
    unload_balloon()?;
    check(daemons::stop(), "the daemons do not end")?;
    for module in of_here().filter(|m| !["xenfs", "xen-privcmd", BALLOON].contains(&m.name)) {
        let unused = || crate::resources::module_uses(&module.kernel_name()) == Some(0);
        check(
            sys::eventually(SOON, unused),
            format_args!("{} is in use by nobody", module.name),
        )?;
    }
    Ok(())
}

fn unload() -> TestResult {
    if daemons::running() {
        return skip("the daemons run");
    }
    unload_all()?;
    for module in &MODULES {
        check(
            !module.is_loaded(),
            format_args!("{} is still loaded", module.name),
        )?;
    }
    for device in [
        Evtchn::PATH,
        Privcmd::PATH,
        HypercallBuffer::PATH,
        Gntdev::PATH,
    ] {
        check(
            !fs::exists(device)?,
            format_args!("{device} is still there"),
        )?;
    }
    load_all(drivers_here())?;
    for device in [
        Evtchn::PATH,
        Privcmd::PATH,
        HypercallBuffer::PATH,
        Gntdev::PATH,
    ] {
        check(
            sys::eventually(SOON, || fs::exists(device).unwrap_or(false)),
            format_args!("{device} is missing"),
        )?;
    }
    Ok(())
}

/// How often modules come and go.
fn lifecycles() -> usize {
    if boot::long() {
        1000
    } else {
        5
    }
}

/// Makes rounds, and compares the memory that is free after the first few with that after the last.
fn rounds(what: &str, mut round: impl FnMut() -> TestResult) -> TestResult {
    for _ in 0..2 {
        round()?;
    }
    let before = free_memory();
    for n in 1..=lifecycles() {
        round()?;
        if n % 100 == 0 {
            line(format_args!("# {what}: {n} rounds"));
        }
    }
    let lost = before.saturating_sub(free_memory());
    check(lost < 4096, format_args!("{lost} KiB are gone"))
}

/// Each does a little, so that what it sets up on demand is there to be taken down.
fn use_all() -> TestResult {
    // SAFETY: XENVER_version takes no address.
    unsafe { Privcmd::open()?.hypercall(XEN_VERSION, [0; 5]) }?;
    drop((
        Privcmd::open()?.reserve(4)?,
        HypercallBuffer::open()?.pages(1)?,
    ));
    let events = Evtchn::open_nonblocking()?;
    let (near, far) = events.loopback()?;
    events.notify(near)?;
    equal(events.next(SOON)?, far, "the port that is pending")?;
    grant_used()?;
    sys::mount("none", "/proc/xen", "xenfs")?;
    equal(
        fs::read_to_string("/proc/xen/capabilities")?.as_str(),
        "control_d\n",
        "capabilities",
    )?;
    let port: Result<u32, _> = fs::read_to_string("/proc/xen/xsd_port")?.trim().parse();
    check(port.is_ok(), "xenstored's port is not a number")
}

/// Maps what a domain grants, as frame and as grant, and copies it.
fn grant_used() -> TestResult {
    let grantor = Grantor::new(BareDomain::new(Kind::Pv)?, 1)?;
    let (frame, file) = (grantor.view()?, Gntdev::open()?);
    let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
    memory.write_at(8, &0x5a_u8);
    equal(frame.read_at(8), 0x5a_u8, "what was written by the grant")?;
    let copied = Mapping::anonymous(PAGE)?;
    let mut segments = [copy::from_grant(&grantor, 0, 0, copied.addr(), PAGE)];
    file.copy(&mut segments)?;
    equal(segments[0].status, GNTST_OKAY, "the copy's status")?;
    equal(copied.read_at(8), 0x5a_u8, "what was copied")?;
    memory.unmap()?;
    file.unmap(index, 1)?;
    drop((frame, file));
    grantor.released()
}

fn reload() -> TestResult {
    if daemons::running() {
        return skip("the daemons run");
    }
    rounds("reload", || {
        unload_all()?;
        load_all(drivers_here())?;
        use_all()
    })?;
    Ok(sys::unmount("/proc/xen")?)
}

/// Apart from the others, as it talks to xenstored when it is loaded.
fn reload_balloon() -> TestResult {
    let Some(balloon) = of_here().find(|m| m.name == BALLOON) else {
        return skip("there is none to load");
    };
    let target = "/sys/devices/system/xen_memory/xen_memory0/target_kb";
    rounds("reload_balloon", || {
        sys::unload_module(&balloon.kernel_name())?;
        load(balloon, drivers_here())?;
        let kb = fs::read_to_string(target)?;
        Ok(fs::write(target, kb.trim())?)
    })
}

fn in_use_by_a_range() -> TestResult {
    let range = Privcmd::open()?.reserve(4)?;
    stays("xen_privcmd")?;
    range.unmap()?;
    let pages = HypercallBuffer::open()?.pages(1)?;
    stays("xen_privcmd")?;
    pages.unmap()?;
    unload_all()?;
    load_all(drivers_here())
}

/// A channel that a grant still notifies through is closed when that is unmapped, by the module, which stays so long.
fn in_use_by_a_channel() -> TestResult {
    const NAME: &str = "xen-evtchn";
    if drivers_here() == Drivers::C {
        return skip("there the kernel closes it");
    }
    let Some(module) = of_here().find(|m| m.name == NAME) else {
        return fail("the module is missing from the list");
    };
    each_grantor(1, |grantor| {
        let events = Evtchn::open_nonblocking()?;
        let (near, _far) = events.loopback()?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, near)?;
        drop(events);
        stays(&module.kernel_name())?;
        drop((memory, file));
        let unloaded = || sys::unload_module(&module.kernel_name()).is_ok();
        check(sys::eventually(SOON, unloaded), "the module does not go")?;
        load(module, Drivers::Rust)
    })
}

fn autoload() -> TestResult {
    if drivers_here() == Drivers::C {
        return skip("the C drivers are not where modprobe looks");
    }
    sys::unload_module("xenfs")?;
    sys::mount("none", "/proc/xen", "xenfs")?;
    check(
        MODULES.iter().any(|m| m.name == "xenfs" && m.is_ours()),
        "mounting loaded another xenfs",
    )
}

/// One driver of the other set, in place of one of these, and xenfs over it.
fn mixed_with_c() -> TestResult {
    if drivers_here() == Drivers::C {
        return skip("there is only one set");
    }
    let by_name = |name: &str| MODULES.iter().find(|m| m.name == name);
    let (Some(privcmd), Some(xenfs)) = (by_name("xen-privcmd"), by_name("xenfs")) else {
        return fail("a module is missing from the list");
    };
    for (over, under) in [(Drivers::Rust, Drivers::C), (Drivers::C, Drivers::Rust)] {
        unload_all()?;
        load(privcmd, under)?;
        load(xenfs, over)?;
        sys::mount("none", "/proc/xen", "xenfs")?;
        let file = Privcmd::open_path("/proc/xen/privcmd", 0)?;
        // SAFETY: XENVER_version takes no address.
        unsafe { file.hypercall(XEN_VERSION, [0; 5]) }?;
        check(boot::kind().is_some(), "this is not Xen")?;
        drop(file);
    }
    unload_all()?;
    load_all(Drivers::Rust)
}
