// SPDX-License-Identifier: GPL-2.0

//! A file that is narrowed to one domain.

use super::copy::from_grant;
use super::each_grantor;
use crate::abi::gntdev::{self as abi, NOTIFY_SEND_EVENT};
use crate::abi::{DOMID_FIRST_RESERVED, DOMID_SELF};
use crate::device::{Evtchn, Gntdev};
use crate::ktap::{equal, FailsWith, TestResult};
use crate::sys::{self, Mapping, PAGE};

pub fn restrict() -> TestResult {
    let file = Gntdev::open()?;
    sys::ioctl_bad_pointer(&file, abi::RESTRICT).fails_with(libc::EFAULT)?;
    for reserved in [DOMID_FIRST_RESERVED, DOMID_SELF, u16::MAX] {
        file.restrict(reserved).fails_with(libc::EINVAL)?;
    }
    file.restrict(5)?;
    file.restrict(5)?;
    for other in [0, 4, 6, DOMID_SELF] {
        file.restrict(other).fails_with(libc::EINVAL)?;
    }
    // Each file is narrowed for itself.
    Gntdev::open()?.restrict(6)?;
    Ok(())
}

pub fn narrows() -> TestResult {
    each_grantor(2, |grantor| {
        let (own, other) = (Gntdev::open()?, Gntdev::open()?);
        own.restrict(grantor.id())?;
        other.restrict(grantor.id() + 1)?;
        other
            .map(grantor.id(), &grantor.references)
            .fails_with(libc::EPERM)?;
        let (_, memory) = own.map_memory(grantor.id(), &grantor.references)?;
        memory.write_at(PAGE, &0x5a_u8);

        let buffer = Mapping::anonymous(PAGE)?;
        let mut segments = [from_grant(&grantor, 1, 0, buffer.addr(), 8)];
        other.copy(&mut segments).fails_with(libc::EPERM)?;
        equal(buffer.read_at(0), 0_u8, "what was not to be copied")?;
        own.copy(&mut segments)?;
        equal(buffer.read_at(0), 0x5a_u8, "what was copied")?;
        drop((memory, own, other));
        grantor.released()
    })
}

pub fn earlier_map() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let mapped = file.map_memory(grantor.id(), &grantor.references[..1])?;
        let index = file.map(grantor.id(), &grantor.references[1..])?;
        file.restrict(grantor.id() + 1)?;
        // What is mapped stays, what is not cannot be any more.
        mapped.1.write_at(0, &1_u8);
        file.mmap(index, 1).fails_with(libc::EPERM)?;
        file.unmap(index, 1)?;
        drop((mapped, file));
        grantor.released()
    })
}

pub fn notify() -> TestResult {
    each_grantor(1, |grantor| {
        let events = Evtchn::open()?;
        let port = events.bind_unbound(0)?;
        let theirs = events.bind_unbound(grantor.id().into())?;
        let file = Gntdev::open()?;
        file.restrict(grantor.id())?;
        let index = file.map(grantor.id(), &grantor.references)?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, port)
            .fails_with(libc::EPERM)?;
        file.notify_unmap(index, NOTIFY_SEND_EVENT, theirs)?;
        drop(file);
        grantor.released()
    })
}
