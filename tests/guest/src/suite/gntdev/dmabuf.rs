// SPDX-License-Identifier: GPL-2.0

//! dma-buf export and import.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::each_grantor;
use crate::abi::gntdev as abi;
use crate::device::Gntdev;
use crate::ktap::{check, equal, skip, FailsWith, TestResult};
use crate::suite::SOON;
use crate::sys::{self, Mapping, Plain, PAGE};
use crate::xen::{BareDomain, Kind};

/// Makes a dma-buf of one grant.
pub fn export_one(file: &Gntdev, domid: u16, reference: u32, flags: u32) -> sys::Result<OwnedFd> {
    let mut argument = abi::DmabufExport {
        flags,
        count: 1,
        fd: u32::MAX,
        domid: domid.into(),
        reference,
    };
    sys::ioctl_struct(file, abi::DMABUF_EXP_FROM_REFS, &mut argument)?;
    // SAFETY: The request has just given us the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd as RawFd) })
}

/// Makes a dma-buf of several grants.
fn export_many(file: &Gntdev, domid: u16, refs: &[u32], flags: u32) -> sys::Result<OwnedFd> {
    let header = [flags, refs.len() as u32, u32::MAX, domid.into()];
    let argument = Mapping::anonymous(PAGE)?;
    for (i, word) in header.iter().chain(refs).enumerate() {
        argument.write_at(i * size_of::<u32>(), word);
    }
    // SAFETY: The request reads the header and as many references as that says, and writes to the header.
    unsafe { sys::ioctl(file, abi::DMABUF_EXP_FROM_REFS, argument.addr()) }?;
    let fd = argument.read_at::<u32>(2 * size_of::<u32>());
    // SAFETY: The request has just given us the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn wait_released(file: &Gntdev, fd: u32, wait_to_ms: u32) -> sys::Result<i64> {
    sys::ioctl_struct(
        file,
        abi::DMABUF_EXP_WAIT_RELEASED,
        &mut abi::DmabufWait { fd, wait_to_ms },
    )
}

pub fn export() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let buffer = export_one(&file, grantor.id(), grantor.references[0], 0)?;
        equal(grantor.in_use(), 1, "grants in use")?;
        let number = buffer.as_raw_fd() as u32;
        wait_released(&file, number, 50).fails_with(libc::ETIMEDOUT)?;
        drop(buffer);
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "the grant is in use after the buffer is gone",
        )?;
        wait_released(&file, number, 50).fails_with(libc::ENOENT)?;
        // The buffer keeps what it needs of a file that is closed before it.
        let buffer = export_one(&file, grantor.id(), grantor.references[0], 0)?;
        drop(file);
        equal(grantor.in_use(), 1, "grants in use")?;
        drop(buffer);
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "the grant is in use after the buffer is gone",
        )
    })
}

/// Backed by memory that devices can use: write-combining, coherent.
pub fn export_dma() -> TestResult {
    each_grantor(1, |grantor| {
        let view = grantor.view()?;
        view.write_at(0, &0x51_u8);
        let file = Gntdev::open()?;
        for flags in [1, 2] {
            for _ in 0..3 {
                let buffer = export_one(&file, grantor.id(), grantor.references[0], flags)?;
                equal(grantor.in_use(), 1, "grants in use")?;
                export_one(&file, grantor.id(), grantor.table.unused(), flags)
                    .fails_with(libc::EINVAL)?;
                drop(buffer);
                check(
                    sys::eventually(SOON, || grantor.in_use() == 0),
                    "the grant is in use after the buffer is gone",
                )?;
            }
        }
        equal(view.read_at(0), 0x51_u8, "the page of the grantor")
    })
}

/// The memory of several pages is one block, which goes back as a whole: the kernel looks at each page of it, where it
/// looks at all.
pub fn export_dma_many() -> TestResult {
    each_grantor(4, |grantor| {
        let file = Gntdev::open()?;
        for flags in [0, 1, 2] {
            for refs in [&grantor.references[..2], &grantor.references] {
                let buffer = export_many(&file, grantor.id(), refs, flags)?;
                equal(grantor.in_use(), refs.len(), "grants in use")?;
                drop(buffer);
                check(
                    sys::eventually(SOON, || grantor.in_use() == 0),
                    "grants are in use after the buffer is gone",
                )?;
            }
        }
        drop(file);
        grantor.released()
    })
}

pub fn export_pv() -> TestResult {
    let file = Gntdev::open()?;
    export_one(&file, 1, 8, 0).fails_with(libc::EINVAL)?;
    sys::ioctl_bad_pointer(&file, abi::DMABUF_EXP_FROM_REFS).fails_with(libc::EINVAL)
}

pub fn export_refused() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        sys::ioctl_bad_pointer(&file, abi::DMABUF_EXP_FROM_REFS).fails_with(libc::EFAULT)?;
        for count in [0, 0x1_0001, u32::MAX] {
            let mut argument = abi::DmabufExport {
                count,
                domid: grantor.id().into(),
                ..Plain::zeroed()
            };
            sys::ioctl_struct(&file, abi::DMABUF_EXP_FROM_REFS, &mut argument)
                .fails_with(libc::EINVAL)?;
        }
        // Both kinds of memory at once.
        export_one(&file, grantor.id(), grantor.references[0], 3).fails_with(libc::EINVAL)?;
        export_one(&file, grantor.id(), grantor.table.unused(), 0).fails_with(libc::EINVAL)?;
        check(
            sys::eventually(SOON, || grantor.in_use() == 0),
            "grants of a refused buffer are in use",
        )
    })
}

pub fn wait_unknown() -> TestResult {
    let file = Gntdev::open()?;
    for fd in [0, 999, u32::MAX] {
        wait_released(&file, fd, 10).fails_with(libc::ENOENT)?;
    }
    Ok(())
}

pub fn import_one(file: &Gntdev, fd: u32, count: u32, domid: u16) -> sys::Result<u32> {
    let mut argument = abi::DmabufImport {
        fd,
        count,
        domid: domid.into(),
        reserved: 0,
        reference: 0,
    };
    sys::ioctl_struct(file, abi::DMABUF_IMP_TO_REFS, &mut argument)?;
    Ok(argument.reference)
}

pub fn release(file: &Gntdev, fd: u32) -> sys::Result<i64> {
    sys::ioctl_struct(
        file,
        abi::DMABUF_IMP_RELEASE,
        &mut abi::DmabufRelease { fd, reserved: 0 },
    )
}

pub fn import() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let buffer = match sys::udmabuf(PAGE) {
        Ok(buffer) => buffer,
        Err(error) => return skip(format_args!("no dma-buf to import: {error}")),
    };
    let file = Gntdev::open()?;
    let fd = buffer.as_raw_fd() as u32;
    for _ in 0..5 {
        let reference = import_one(&file, fd, 1, domain.id())?;
        check(reference >= 8, "a reference that is reserved")?;
        release(&file, fd)?;
        release(&file, fd).fails_with(libc::ENOENT)?;
    }
    // Not released: the file's end does it.
    import_one(&file, fd, 1, domain.id())?;
    Ok(())
}

pub fn import_refused() -> TestResult {
    let file = Gntdev::open()?;
    import_one(&file, u32::MAX, 1, 1).fails_with(libc::EBADF)?;
    // Not a dma-buf.
    import_one(&file, file.as_raw_fd() as u32, 1, 1).fails_with(libc::EINVAL)?;
    for count in [0, 0x1_0001, u32::MAX] {
        import_one(&file, file.as_raw_fd() as u32, count, 1).fails_with(libc::EINVAL)?;
    }
    release(&file, 0).fails_with(libc::ENOENT)?;
    let Ok(buffer) = sys::udmabuf(PAGE) else {
        return Ok(());
    };
    // Another number of pages than it has.
    import_one(&file, buffer.as_raw_fd() as u32, 2, 1).fails_with(libc::EINVAL)?;
    release(&file, buffer.as_raw_fd() as u32).fails_with(libc::ENOENT)
}
