// SPDX-License-Identifier: GPL-2.0

//! io_uring on the device.

use super::{expect, expect_nothing, NEVER, SOON};
use crate::device::evtchn::{bytes, ports, Evtchn};
use crate::ktap::{check, equal, skip, FailsWith, TestResult};
use crate::sys::{self, Errno, Mapping, PAGE};
use crate::uring::Uring;

/// A ring and memory for it, or why the test cannot be made.
fn ring() -> TestResult<(Uring, Mapping)> {
    match Uring::new() {
        Ok(ring) => Ok((ring, Mapping::anonymous(PAGE)?)),
        Err(Errno(libc::ENOSYS)) => skip("the kernel has no io_uring (CONFIG_IO_URING)"),
        Err(error) => Err(error.into()),
    }
}

/// A file that blocks, with a channel: (the file, one end, the other).
fn channel() -> TestResult<(Evtchn, u32, u32)> {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    sys::set_status_flag(&file, libc::O_NONBLOCK, false)?;
    Ok((file, near, far))
}

pub fn read() -> TestResult {
    let (file, near, far) = channel()?;
    let (ring, memory) = ring()?;
    // Some wait for their event, others find it there.
    for waits in [true, false, true, true, false] {
        if !waits {
            file.notify(near)?;
            check(file.wait(SOON)?, "no event")?;
        }
        ring.read(&file, &memory, 64)?;
        if waits {
            equal(
                ring.completed_within(NEVER)?,
                None,
                "a read before anything is pending",
            )?;
            file.notify(near)?;
        }
        equal(ring.completed_within(SOON)?, Some(4), "bytes read")?;
        equal(ports(&memory.bytes(0, 4)), vec![far], "the pending ports")?;
        file.unmask(&[far])?;
    }
    Ok(())
}

pub fn read_without_waiting() -> TestResult {
    let (file, near, far) = channel()?;
    let (ring, memory) = ring()?;
    ring.read_now(&file, &memory, 64)?;
    equal(
        ring.completed_within(SOON)?,
        Some(-libc::EAGAIN),
        "a read of nothing",
    )?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    ring.read_now(&file, &memory, 64)?;
    equal(ring.completed_within(SOON)?, Some(4), "bytes read")?;
    equal(ports(&memory.bytes(0, 4)), vec![far], "the pending ports")
}

pub fn vectors() -> TestResult {
    let (file, near, far) = channel()?;
    let (ring, memory) = ring()?;
    let target = Mapping::anonymous(PAGE)?;
    for (i, len) in [(0, 8_u64), (1, 56)] {
        memory.write_at(i * 16, &(target.addr() as u64 + i as u64 * 100));
        memory.write_at(i * 16 + 8, &len);
    }
    ring.read_vectored(&file, &memory, 2)?;
    file.notify(near)?;
    equal(ring.completed_within(SOON)?, Some(4), "bytes read")?;
    equal(ports(&target.bytes(0, 4)), vec![far], "the pending ports")?;
    // Masked until it is written, by way of the ring, too.
    file.notify(near)?;
    expect_nothing(&file)?;
    for (i, byte) in bytes(&[far, u32::MAX]).iter().enumerate() {
        memory.write_at(i, byte);
    }
    ring.write(&file, &memory, 8)?;
    equal(ring.completed_within(SOON)?, Some(8), "bytes written")?;
    expect(&file, far)
}

pub fn poll() -> TestResult {
    let (file, near, far) = channel()?;
    let (ring, _memory) = ring()?;
    ring.poll(&file, libc::POLLIN)?;
    equal(
        ring.completed_within(NEVER)?,
        None,
        "a poll of an idle file",
    )?;
    file.notify(near)?;
    let events = ring.completed_within(SOON)?.unwrap_or(0);
    check(
        events & i32::from(libc::POLLIN) != 0,
        format_args!("polled {events:#x}"),
    )?;
    expect(&file, far)
}

/// A ring that goes takes its requests with it, and nothing else.
pub fn given_up() -> TestResult {
    let (file, near, far) = channel()?;
    {
        let (ring, memory) = ring()?;
        ring.read(&file, &memory, 64)?;
        ring.poll(&file, libc::POLLIN)?;
        equal(ring.completed_within(NEVER)?, None, "a read of nothing")?;
    }
    sys::set_status_flag(&file, libc::O_NONBLOCK, true)?;
    // It goes when it has been cancelled, which takes a moment.
    std::thread::sleep(NEVER);
    file.read(1).fails_with(libc::EAGAIN)?;
    file.notify(near)?;
    expect(&file, far)
}

/// An address that cannot be written is an error of the request, and loses nothing.
pub fn bad_buffer() -> TestResult {
    let (file, near, far) = channel()?;
    let (ring, memory) = ring()?;
    let gone = Mapping::anonymous(PAGE)?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    gone.protect(libc::PROT_READ)?;
    ring.read(&file, &gone, 64)?;
    equal(
        ring.completed_within(SOON)?,
        Some(-libc::EFAULT),
        "a read into memory that is not to be written",
    )?;
    ring.read(&file, &memory, 64)?;
    equal(ring.completed_within(SOON)?, Some(4), "bytes read")?;
    equal(ports(&memory.bytes(0, 4)), vec![far], "the pending ports")
}
