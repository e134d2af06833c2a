// SPDX-License-Identifier: GPL-2.0

//! IRQFD and IOEVENTFD with a guest that runs: it notifies, and is interrupted.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::device_model::Operation;
use super::eventfd::{signal, Device};
use super::file::counted;
use crate::abi::privcmd::Ioeventfd;
use crate::boot;
use crate::device::Evtchn;
use crate::ktap::{check, equal, line, TestResult};
use crate::suite::SOON;
use crate::sys;
use crate::xen::vcpu::{Driver, LAST_QUEUE, NOTIFY, QUEUE, REGISTERS, VECTOR};

/// In the page of requests, `struct ioreq` of the first vCPU: the address, the data, and the state.
const ADDR: usize = 0;
const DATA: usize = 8;
const STATE: usize = 30;
const READY: u8 = 1;
const ANSWERED: u8 = 3;

/// Notifications of a test.
fn rounds() -> u32 {
    if boot::long() {
        5_000
    } else {
        25
    }
}

/// A device whose queue's notifications signal an eventfd.
struct Notified {
    device: Device,
    ports: [u32; 1],
    /// The driver's count of injections at first, if it counts.
    injected: Option<u64>,
    /// Interrupts that came twice.
    twice: Cell<u32>,
}

impl Notified {
    fn new() -> TestResult<Self> {
        let device = Device::new()?;
        device.serve(REGISTERS)?;
        let ports = [device.port];
        let this = Self {
            device,
            ports,
            injected: counted("injection").ok(),
            twice: Cell::new(0),
        };
        this.device.file.ioeventfd(&this.argument())?;
        // The event that binding leaves behind.
        this.device.events.drain()?;
        Ok(this)
    }

    fn argument(&self) -> Ioeventfd {
        Ioeventfd {
            addr: REGISTERS,
            vq: QUEUE,
            ..self.device.argument(&self.ports)
        }
    }

    fn take_back(&self) -> Ioeventfd {
        self.argument().undone()
    }

    fn interrupt_by(&self, eventfd: &OwnedFd) -> TestResult {
        let operation = Operation::inject_msi(VECTOR).bytes();
        self.device
            .file
            .irqfd(self.device.domain.id(), eventfd, &operation, 0)?;
        Ok(())
    }

    fn start(&self, rounds: u32) -> TestResult<Driver> {
        Ok(Driver::start(&self.device.domain, rounds)?)
    }

    /// So many interrupts have been injected, and the guest has counted them.
    ///
    /// QEMU's emulated processor delivers an interrupt twice if it is made to stop in the instant in which it enters the
    /// guest, which is seldom, and likelier the more work the host has. So it is the driver's count that has to be
    /// exact.
    fn interrupted(&self, driver: &Driver, rounds: u32) -> TestResult {
        let seen = driver.interrupts();
        if seen == rounds + self.twice.get() {
            return Ok(());
        }
        check(
            seen > rounds + self.twice.get(),
            format_args!("the guest has counted {seen} of {rounds} interrupts"),
        )?;
        if let Some(before) = self.injected {
            let injected = || counted("injection").is_ok_and(|n| n - before == rounds.into());
            check(
                sys::eventually(SOON, injected),
                format_args!("not {rounds} were injected, and the guest has counted {seen}"),
            )?;
        }
        self.twice.set(seen - rounds);
        line(format_args!("# interrupt {rounds} came twice"));
        check(
            self.twice.get() <= 1 + rounds / 1000,
            format_args!("the guest has counted {seen} interrupts where there were {rounds}"),
        )
    }

    /// Waits for a notification, and takes it.
    fn notified(&self) -> TestResult {
        let eventfd = &self.device.eventfd;
        check(
            sys::poll(eventfd, libc::POLLIN, SOON)? & libc::POLLIN != 0,
            "the guest's notification does not come",
        )?;
        let mut count = [0; 8];
        sys::read(eventfd, &mut count)?;
        equal(u64::from_ne_bytes(count), 1, "notifications at a time")
    }

    /// What nobody has asked the kernel to answer is there for the device model, which answers it.
    fn other_request(&self, driver: &Driver) -> TestResult {
        let Device { events, page, .. } = &self.device;
        // Events of what the kernel has answered come here too.
        let ready = || page.read_at::<u8>(STATE) & 0xf == READY;
        check(
            sys::eventually(SOON, || events.drain().is_ok() && ready()),
            "the other queue's notification does not come",
        )?;
        equal(page.read_at::<u64>(ADDR), NOTIFY, "the request's address")?;
        equal(
            page.read_at::<u64>(DATA),
            LAST_QUEUE.into(),
            "the request's data",
        )?;
        equal(driver.legs(), 0, "legs that ended before the answer")?;
        let flags = page.read_at::<u8>(STATE) & 0xf0;
        page.write_at(STATE, &(flags | ANSWERED));
        events.notify(self.device.port)?;
        check(
            sys::eventually(SOON, || driver.legs() == 1),
            "the guest does not go on",
        )
    }

    fn end(self, driver: Driver) -> TestResult {
        drop(driver);
        self.device.file.ioeventfd(&self.take_back())?;
        self.device.end()
    }
}

/// This process is told of each notification, and answers it with an interrupt.
pub fn round_trips() -> TestResult {
    let notified = Notified::new()?;
    let interrupt = sys::eventfd()?;
    notified.interrupt_by(&interrupt)?;
    let rounds = rounds();
    let driver = notified.start(rounds)?;

    for round in 0..rounds {
        notified.notified()?;
        notified.interrupted(&driver, round)?;
        // The port's events are this file's as well, and stay away until they are unmasked here.
        equal(
            notified.device.events.next(SOON)?,
            notified.device.port,
            "the port that is pending",
        )?;
        signal(&interrupt)?;
    }
    notified.other_request(&driver)?;
    notified.end(driver)
}

/// The process closes the file that the port is bound on, with an event that it has not unmasked: from then on nobody
/// else listens.
pub fn listener_leaves() -> TestResult {
    let mut notified = Notified::new()?;
    let interrupt = sys::eventfd()?;
    notified.interrupt_by(&interrupt)?;
    let rounds = rounds();
    let driver = notified.start(rounds)?;

    notified.notified()?;
    notified.device.events = Evtchn::open_nonblocking()?;
    signal(&interrupt)?;
    for round in 1..rounds {
        notified.notified()?;
        notified.interrupted(&driver, round)?;
        signal(&interrupt)?;
    }
    check(
        sys::eventually(SOON, || {
            driver.interrupts() >= rounds + notified.twice.get()
        }),
        "the guest misses an interrupt",
    )?;
    notified.interrupted(&driver, rounds)?;
    notified.end(driver)
}

/// The very eventfd that a notification signals injects the interrupt: no process has a part in it.
pub fn wired_together() -> TestResult {
    let mut notified = Notified::new()?;
    notified.interrupt_by(&notified.device.eventfd)?;
    notified.device.events = Evtchn::open_nonblocking()?;
    let rounds = rounds();
    let counts =
        || -> TestResult<(u64, u64)> { Ok((counted("notification")?, counted("injection")?)) };
    let before = counts()?;
    let driver = notified.start(rounds)?;
    let mut made = 0;
    while made < rounds {
        check(
            sys::eventually(SOON, || driver.interrupts() > made),
            format_args!("nothing happens after {made} rounds of {rounds}"),
        )?;
        made = driver.interrupts();
    }
    // Each is counted after it has been made.
    std::thread::sleep(Duration::from_millis(100));
    let after = counts()?;
    equal(
        (after.0 - before.0, after.1 - before.1),
        (rounds.into(), rounds.into()),
        "notifications and injections",
    )?;
    notified.interrupted(&driver, rounds)?;
    notified.end(driver)
}

/// An ioeventfd is taken back and made again while notifications come: what is not answered by the kernel meanwhile
/// is there for the device model.
pub fn taken_back_meanwhile() -> TestResult {
    let notified = Notified::new()?;
    let interrupt = sys::eventfd()?;
    notified.interrupt_by(&interrupt)?;
    let rounds = rounds();
    let driver = notified.start(rounds)?;
    let device = &notified.device;
    for round in 0..rounds {
        notified.notified()?;
        device.file.ioeventfd(&notified.take_back())?;
        device.events.drain_now()?;
        signal(&interrupt)?;
        // The next notification comes at any time in this.
        device.file.ioeventfd(&notified.argument())?;
        if round + 1 == rounds {
            break;
        }
        let ours = || {
            sys::poll(&device.eventfd, libc::POLLIN, Duration::ZERO)
                .is_ok_and(|events| events & libc::POLLIN != 0)
        };
        let ready = || device.page.read_at::<u8>(STATE) & 0xf == READY;
        let left = || {
            // It is there for a moment before the kernel answers, too.
            device.events.drain_now().is_ok() && ready() && {
                std::thread::sleep(Duration::from_millis(5));
                ready() && !ours()
            }
        };
        check(
            sys::eventually(SOON, || ours() || left()),
            "a notification has got lost",
        )?;
        if !ours() {
            // What came while nobody was there to answer.
            equal(
                device.page.read_at::<u64>(DATA),
                QUEUE.into(),
                "the request's data",
            )?;
            device.page.write_at(STATE, &ANSWERED);
            device.events.notify(device.port)?;
            signal(&device.eventfd)?;
        }
    }
    notified.end(driver)
}

/// The device's owner is killed while its guest notifies.
pub fn killed() -> TestResult {
    let mut notified = Notified::new()?;
    notified.interrupt_by(&notified.device.eventfd)?;
    notified.device.events = Evtchn::open_nonblocking()?;
    // Only the child has the files from here on: it inherits them, and this process closes its own.
    let driver = notified.start(u32::MAX / 2)?;
    let mut child = sys::Child::fork(|| loop {
        std::thread::sleep(SOON);
    })?;
    let Notified { device, .. } = notified;
    let Device {
        file,
        events,
        domain,
        page,
        eventfd,
        ..
    } = device;
    // A mapping holds its file, too.
    drop((page, file, events, eventfd));
    let before = driver.interrupts();
    check(
        sys::eventually(SOON, || driver.interrupts() > before + 10),
        "the rounds ended with a file that a child has, too",
    )?;
    child.kill(libc::SIGKILL);
    check(child.wait_for(SOON).is_some(), "the child does not end")?;
    let mut last = driver.interrupts();
    check(
        sys::eventually(SOON, || {
            std::thread::sleep(Duration::from_millis(50));
            let now = driver.interrupts();
            std::mem::replace(&mut last, now) == now
        }),
        "the rounds go on though the files are gone",
    )?;
    drop(driver);
    check(domain.destroyed_within(SOON)?, "pages are still held")
}
