// SPDX-License-Identifier: GPL-2.0

//! How many interrupts those can cause who send as fast as they can.

use std::fs;
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::{expect_nothing, SOON};
use crate::boot;
use crate::device::Evtchn;
use crate::interrupts::Interrupts;
use crate::ktap::{check, equal, fail, skip, TestResult};
use crate::suite::Aid;
use crate::sys::{self, Errno};

/// However fast events are sent, a port interrupts once for each time that it is unmasked.
pub fn interrupted_as_often_as_unmasked() -> TestResult {
    /// A reader that has other things to do.
    const PAUSE: Duration = Duration::from_millis(10);
    let time = Duration::from_secs(if boot::long() { 20 } else { 1 });
    let interrupts = Interrupts::named("unmasked")?;
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let before = interrupts.count()?;
    let end = Instant::now() + time;
    let (sent, unmasked) = std::thread::scope(|scope| -> TestResult<(u64, u64)> {
        let sender = scope.spawn(|| -> sys::Result<u64> {
            let mut sent = 0;
            while Instant::now() < end {
                file.notify(near)?;
                sent += 1;
            }
            Ok(sent)
        });
        let mut unmasked = 0;
        while Instant::now() < end {
            std::thread::sleep(PAUSE);
            for port in file.read(1).unwrap_or_default() {
                equal(port, far, "the port that is pending")?;
                file.unmask(&[port])?;
                unmasked += 1;
            }
        }
        match sender.join() {
            Ok(sent) => Ok((sent?, unmasked)),
            Err(_) => fail("the sender panicked"),
        }
    })?;
    let came = interrupts.count()? - before;
    // Or this shows nothing.
    check(
        unmasked > 5 && sent > 10 * unmasked,
        format_args!("only {sent} events were sent while {unmasked} were read"),
    )?;
    check(
        came >= unmasked && came <= unmasked + 1,
        format_args!("{came} interrupts for {unmasked} times unmasked, of {sent} events"),
    )
}

/// A parameter of the kernel, which gets its former value back in the end.
struct Parameter {
    path: String,
    former: String,
}

impl Parameter {
    /// One of the kernel's event channels.
    fn of_events(name: &str) -> TestResult<Self> {
        let path = format!("/sys/module/xen/parameters/{name}");
        let former = fs::read_to_string(&path)?;
        Ok(Self { path, former })
    }

    fn set(&self, value: u32) -> TestResult {
        Ok(fs::write(&self.path, value.to_string())?)
    }
}

/// The number in a file.
fn ask<T: FromStr>(path: &str) -> TestResult<T> {
    let text = fs::read_to_string(path)?;
    text.trim()
        .parse()
        .or_else(|_| fail(format_args!("{path}: {text:?}")))
}

impl Drop for Parameter {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.former);
    }
}

/// Many channels, whose events come to the first CPU while this thread runs on the second.
struct Flood {
    file: Evtchn,
    near: Vec<u32>,
    aid: Aid,
    timeout: Parameter,
    _delay: Parameter,
}

impl Flood {
    /// The kernel looks at the clock at every 256th event in a row, and what comes after the second time is what it may
    /// put off.
    const PORTS: usize = 640;
    const ABOUT: usize = Self::PORTS - 512;
    /// For how long it puts off, and when that is told from what is merely slow.
    const DELAY: Duration = Duration::from_secs(1);
    const LATE: Duration = Duration::from_millis(300);

    fn new() -> TestResult<Self> {
        let aid = Aid::load("xen-busy")?;
        let (timeout, delay) = (
            Parameter::of_events("event_loop_timeout")?,
            Parameter::of_events("event_eoi_delay")?,
        );
        let hz: u32 = ask(&aid.parameter("hz"))?;
        delay.set(hz * Self::DELAY.as_secs() as u32)?;

        let interrupts = Interrupts::named("flood")?;
        let file = Evtchn::open_nonblocking()?;
        let near = (0..Self::PORTS)
            .map(|_| file.bind_unbound(0))
            .collect::<sys::Result<Vec<_>>>()?;
        for &port in &near {
            file.bind_interdomain(0, port)?;
        }
        interrupts.to_cpu(0)?;
        sys::run_on_cpu(1)?;
        file.drain()?;
        Ok(Self {
            file,
            near,
            aid,
            timeout,
            _delay: delay,
        })
    }

    fn hold(&self, number: usize) -> TestResult {
        Ok(fs::write(self.aid.parameter("hold"), number.to_string())?)
    }

    fn release(&self, number: usize) -> TestResult {
        Ok(fs::write(
            self.aid.parameter("release"),
            number.to_string(),
        )?)
    }

    fn send_all(&self) -> sys::Result<()> {
        self.near
            .iter()
            .try_for_each(|&port| self.file.notify(port))
    }

    /// Reads and unmasks an event of each port. Gives how many came late.
    fn receive_all(&self) -> TestResult<usize> {
        let begun = Instant::now();
        let (mut came, mut late) = (0, 0);
        while came < Self::PORTS {
            check(
                begun.elapsed() < SOON,
                format_args!("{} events were lost", Self::PORTS - came),
            )?;
            let ports = match self.file.read(1024) {
                Ok(ports) => ports,
                Err(Errno(libc::EAGAIN)) => continue,
                Err(error) => return Err(error.into()),
            };
            self.file.unmask(&ports)?;
            came += ports.len();
            if begun.elapsed() > Self::LATE {
                late += ports.len();
            }
        }
        Ok(late)
    }

    /// Unmasks each port while its CPU still deals with the others' events, in a row. After how many milliseconds of
    /// that is the kernel to put it off? Gives how many it did.
    fn put_off(&self, timeout: u32) -> TestResult<usize> {
        self.timeout.set(timeout)?;
        self.hold(0)?;
        self.send_all()?;
        self.hold(1)?;
        self.release(0)?;
        self.receive_all()?;
        self.release(1)?;
        // What is masked still comes later.
        self.send_all()?;
        let late = self.receive_all()?;
        expect_nothing(&self.file)?;
        Ok(late)
    }
}

/// The kernel puts off unmasking for those who give the end of their interrupt while it has been busy with interrupts for
/// longer than it should: so they cannot keep it so.
pub fn unmasked_later_when_busy() -> TestResult {
    const ATTEMPTS: usize = 5;
    const NO_LIMIT: u32 = 60_000;
    if sys::cpus() < 2 {
        return skip("there is one CPU");
    }
    if boot::slowness() > 1 && !boot::long() {
        return skip("it takes minutes to bind so many ports on this kernel");
    }
    let flood = Flood::new()?;
    // A machine that has other things to do may be late by itself, or hold the CPU for no longer than it can be held.
    let attempt = |timeout: u32, expected: fn(usize) -> bool| {
        let mut seen = Vec::new();
        for _ in 0..ATTEMPTS {
            let late = flood.put_off(timeout)?;
            seen.push(late);
            if expected(late) {
                return Ok(());
            }
        }
        fail(format_args!(
            "after {timeout} ms as many were put off: {seen:?}"
        ))
    };
    attempt(NO_LIMIT, |late| late == 0)?;
    attempt(0, |late| late.abs_diff(Flood::ABOUT) < 16)
}
