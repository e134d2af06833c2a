// SPDX-License-Identifier: GPL-2.0

//! What the driver offers beyond the C driver's, and what it stands that the C driver does not.

use std::fs;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::{expect, expect_nothing, expect_state, SOON, VIRQ_CON_RING};
use crate::abi::evtchn::{self as abi, PortStatus, PortVcpu};
use crate::abi::DOMID_SELF;
use crate::boot::{self, Drivers, Words};
use crate::device::evtchn::Evtchn;
use crate::ktap::{check, equal, fail, FailsWith, TestResult};
use crate::sys::{self, Errno};
use crate::xen::event::Status;
use crate::xen::Xen;

fn status(file: &Evtchn, port: u32) -> sys::Result<PortStatus> {
    let mut status = PortStatus {
        port,
        ..Default::default()
    };
    sys::ioctl_struct(file, abi::PORT_STATUS, &mut status)?;
    Ok(status)
}

fn set_vcpu(file: &Evtchn, port: u32, vcpu: u32) -> sys::Result<()> {
    sys::ioctl_struct(file, abi::PORT_SET_VCPU, &mut PortVcpu { port, vcpu }).map(drop)
}

/// A program that tries what only this driver has learns from the C driver's answer that it has it not.
pub fn known_here_only() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, _far) = file.loopback()?;
    let results = [status(&file, near).map(drop), set_vcpu(&file, near, 0)];
    for result in results {
        match Words::read().drivers() {
            Drivers::Rust => result?,
            Drivers::C => result.fails_with_any(&[libc::ENOSYS, libc::ENOTTY])?,
        }
    }
    Ok(())
}

pub fn port_status() -> TestResult {
    let (file, other) = (Evtchn::open_nonblocking()?, Evtchn::open()?);
    let (near, far) = file.loopback()?;
    file.restrict(5)?;
    let state =
        |port| status(&file, port).map(|s| (s.port, s.state, s.remote_domain, s.remote_port));
    equal(
        state(near)?,
        (near, abi::STATE_INTERDOMAIN, 0, far),
        "one end",
    )?;
    equal(
        state(far)?,
        (far, abi::STATE_INTERDOMAIN, 0, near),
        "the other end",
    )?;
    let before = status(&file, far)?;
    equal(before.flags, 0, "flags of an idle port")?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    let pending = status(&file, far)?;
    equal(
        pending.flags,
        abi::PENDING | abi::MASKED,
        "flags of a pending port",
    )?;
    equal(pending.events, before.events + 1, "events counted")?;
    file.read(1)?;
    equal(
        status(&file, far)?.flags,
        abi::MASKED,
        "flags of a port that was read",
    )?;
    file.unmask(&[far])?;
    equal(
        status(&file, far)?.flags,
        0,
        "flags of a port that was unmasked",
    )?;
    status(&other, near).fails_with(libc::ENOTCONN)?;
    status(&file, u32::MAX).fails_with(libc::ENOTCONN)?;
    sys::ioctl_bad_pointer(&file, abi::PORT_STATUS).fails_with(libc::EFAULT)?;
    let virq = other.bind_virq(VIRQ_CON_RING)?;
    let status = status(&other, virq)?;
    equal(
        (status.state, status.interrupt),
        (abi::STATE_VIRQ, VIRQ_CON_RING),
        "a virtual interrupt",
    )
}

pub fn port_set_vcpu() -> TestResult {
    let (file, other) = (Evtchn::open_nonblocking()?, Evtchn::open()?);
    let (near, far) = file.loopback()?;
    let cpus = fs::read_to_string("/proc/cpuinfo")?
        .lines()
        .filter(|l| l.starts_with("processor"))
        .count();
    for round in 0..8 {
        let vcpu = round % cpus as u32;
        set_vcpu(&file, far, vcpu)?;
        equal(status(&file, far)?.vcpu, vcpu, "the vCPU of the port")?;
        file.notify(near)?;
        expect(&file, far)?;
    }
    set_vcpu(&file, far, 4096).fails_with(libc::EINVAL)?;
    set_vcpu(&file, far, u32::MAX).fails_with(libc::EINVAL)?;
    set_vcpu(&other, far, 0).fails_with(libc::ENOTCONN)?;
    sys::ioctl_bad_pointer(&file, abi::PORT_SET_VCPU).fails_with(libc::EFAULT)
}

pub fn fdinfo() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let unbound = file.bind_unbound(7)?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let line = |port: u32| {
        text.lines()
            .filter_map(|l| l.strip_prefix("evtchn:\t"))
            .find(|l| l.starts_with(&format!("port {port} ")))
            .unwrap_or("")
    };
    check(
        line(near).contains(&format!("interdomain remote 0:{far} ")),
        line(near),
    )?;
    check(line(far).contains("pending 1 masked 1"), line(far))?;
    check(line(unbound).contains("unbound remote 7 "), line(unbound))
}

pub fn totals() -> TestResult {
    let total = |name: &str| -> TestResult<u64> {
        let text = fs::read_to_string("/sys/kernel/debug/xen_evtchn/totals")?;
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.trim().parse().ok());
        value.map_or_else(|| fail(format_args!("no {name} in {text:?}")), Ok)
    };
    let (files, ports) = (total("files")?, total("ports")?);
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    equal(
        (total("files")?, total("ports")?),
        (files + 1, ports + 2),
        "files and ports",
    )?;
    let events = total("events")?;
    for _ in 0..10 {
        file.notify(near)?;
        expect(&file, far)?;
    }
    drop(file);
    equal(
        (total("files")?, total("ports")?),
        (files, ports),
        "files and ports in the end",
    )?;
    check(total("events")? >= events + 10, "events were not counted")
}

/// The channel goes behind the driver's back, and nobody takes its number.
pub fn closed_behind() -> TestResult {
    let (xen, file) = (Xen::open()?, Evtchn::open_nonblocking()?);
    for by_close in [false, true] {
        let port = file.bind_unbound(0)?;
        xen.close_port(port)?;
        file.notify(port).or(Ok::<(), Errno>(()))?;
        file.unmask(&[port])?;
        if by_close {
            drop(Evtchn::open()?);
        } else {
            file.unbind(port)?;
            file.unbind(port).fails_with(libc::ENOTCONN)?;
        }
    }
    drop(file);
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    expect(&file, far)
}

/// The channel goes behind the driver's back, and its number comes back on the same file.
pub fn reused_on_the_same_file() -> TestResult {
    let (xen, file) = (Xen::open()?, Evtchn::open_nonblocking()?);
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    xen.close_port(far)?;
    xen.close_port(near)?;
    // Both numbers are free now, and so are handed out again.
    let (near, far) = file.loopback()?;
    file.drain()?;
    for _ in 0..3 {
        file.notify(near)?;
        expect(&file, far)?;
        file.notify(far)?;
        expect(&file, near)?;
    }
    file.unbind(near)?;
    file.unbind(far)?;
    expect_state(&xen, far, Status::Closed)
}

/// A process calls itself what the kernel would make folders of.
pub fn name_with_slashes() -> TestResult {
    sys::name_thread("../a/b\n")?;
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    expect(&file, far)
}

/// Each event wakes a reader that sleeps, as long as there are any.
pub fn sleepers_are_woken() -> TestResult {
    const READERS: usize = 4;
    let file = Evtchn::open()?;
    let mut near = Vec::new();
    for _ in 0..READERS {
        let one = file.bind_unbound(0)?;
        let far = file.bind_interdomain(0, one)?;
        while file.read(1)? != [far] {}
        file.unmask(&[far])?;
        near.push(one);
    }
    for _ in 0..if boot::long() { 200 } else { 10 } {
        let read = AtomicU32::new(0);
        std::thread::scope(|scope| -> TestResult {
            for _ in 0..READERS {
                scope.spawn(|| {
                    if let Ok(ports) = file.read(1) {
                        let _ = file.unmask(&ports);
                        read.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // At once, and so that some come while readers run already.
            near.iter().try_for_each(|&port| file.notify(port))?;
            let all = sys::eventually(SOON, || read.load(Ordering::Relaxed) as usize == READERS);
            if !all {
                // Let them go, or nothing ends here.
                near.iter().try_for_each(|&port| file.notify(port))?;
            }
            check(
                all,
                format_args!("{read:?} of {READERS} readers were woken"),
            )
        })?;
    }
    Ok(())
}

/// Two ends send as fast as they can: the last of what one has sent is always noticed.
pub fn storm() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let (sent, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let time = Duration::from_secs(if boot::long() { 20 } else { 1 });
    std::thread::scope(|scope| -> TestResult {
        let sender = scope.spawn(|| -> sys::Result<()> {
            let end = Instant::now() + time;
            while Instant::now() < end {
                sent.fetch_add(1, Ordering::SeqCst);
                file.notify(near)?;
            }
            // Its end is news, too.
            done.store(true, Ordering::SeqCst);
            file.notify(near)
        });
        let (mut seen, mut events) = (0, 0);
        loop {
            let over = done.load(Ordering::SeqCst);
            if over && seen == sent.load(Ordering::SeqCst) {
                break;
            }
            check(
                file.wait(SOON)?,
                format_args!("event {} was lost", seen + 1),
            )?;
            let ports = file.read(16)?;
            // As of now: whatever is sent later sends an event of its own, after the port is unmasked.
            file.unmask(&ports)?;
            seen = sent.load(Ordering::SeqCst);
            events += u32::from(ports.contains(&far));
        }
        check(events > 0, "no events")?;
        match sender.join() {
            Ok(result) => result.map_err(Into::into),
            Err(_) => fail("the sender panicked"),
        }
    })
}

/// Threads do all that can be done with files, at once.
pub fn races() -> TestResult {
    let time = Duration::from_secs(if boot::long() { 60 } else { 2 });
    let files: Vec<Evtchn> = (0..3)
        .map(|_| Evtchn::open_nonblocking())
        .collect::<Result<_, _>>()?;
    let xen = Xen::open()?;
    let before = xen.open_ports(DOMID_SELF)?;
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for thread in 0..6_usize {
            let files = &files;
            scope.spawn(move || {
                let mut own = Vec::new();
                let mut n = thread;
                while Instant::now() < end {
                    n = n
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let pick = n >> 33;
                    let file = &files[pick % files.len()];
                    let port = (pick / 7 % 64) as u32;
                    // Whatever it says: others are at the same ports.
                    match pick % 11 {
                        0 | 1 => own.extend(file.bind_unbound(0)),
                        2 => own.extend(file.bind_interdomain(0, port)),
                        3 | 4 => drop(own.pop().map(|port| file.unbind(port))),
                        5 => drop(file.notify(port)),
                        6 => drop(file.read(1 + port as usize)),
                        7 => drop(file.unmask(&(0..port).collect::<Vec<_>>())),
                        8 => drop(file.reset()),
                        9 => drop(status(file, port)),
                        _ => {
                            if let Ok(file) = Evtchn::open_nonblocking() {
                                let _ = file
                                    .bind_unbound(0)
                                    .map(|port| file.bind_interdomain(0, port));
                            }
                        }
                    }
                    if own.len() > 100 {
                        for port in own.drain(..50) {
                            for file in files {
                                let _ = file.unbind(port);
                            }
                        }
                    }
                }
            });
        }
    });
    drop(files);
    equal(
        xen.open_ports(DOMID_SELF)?,
        before,
        "open ports after closing the files",
    )?;
    expect_nothing(&Evtchn::open_nonblocking()?)
}

/// A reader that must not wait this once does not, though the file would let it.
pub fn read_without_waiting() -> TestResult {
    let file = Evtchn::open()?;
    let mut buffer = [0_u8; 8];
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: The vector names a buffer that is there.
    let n = unsafe { libc::preadv2(file.as_raw_fd(), &vector, 1, -1, libc::RWF_NOWAIT) };
    Errno::check(n as i64).fails_with(libc::EAGAIN)
}
