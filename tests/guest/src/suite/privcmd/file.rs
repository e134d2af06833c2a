// SPDX-License-Identifier: GPL-2.0

//! Opening, the raw hypercall, restriction, and what a file tells of itself.

use std::os::fd::AsRawFd;

use crate::abi::{privcmd as abi, DOMID_FIRST_RESERVED, DOMID_SELF, DOMID_XEN};
use crate::device::privcmd::Resource;
use crate::device::Privcmd;
use crate::ktap::{check, equal, skip, FailsWith, TestResult};
use crate::suite::{each_kind, Aid};
use crate::sys::{self, Child, Exit, Plain};
use crate::xen::{grant, BareDomain, Kind, Xen, XEN_VERSION};

pub fn hypercall() -> TestResult {
    let (major, _minor) = Xen::open()?.version()?;
    equal(major, 4, "Xen's major version")
}

pub fn hypercall_unknown() -> TestResult {
    let file = Privcmd::open()?;
    for op in [63, 1 << 20, u64::MAX] {
        // SAFETY: There is no such hypercall, so no argument is looked at.
        unsafe { file.hypercall(op, [0; 5]) }.fails_with(libc::ENOSYS)?;
    }
    Ok(())
}

pub fn unknown_request() -> TestResult {
    let file = Privcmd::open()?;
    for request in [0, abi::HYPERCALL + 1, abi::RESTRICT + (1 << 16), u32::MAX] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

pub fn bad_pointers() -> TestResult {
    let file = Privcmd::open()?;
    for request in [
        abi::HYPERCALL,
        abi::MMAPBATCH,
        abi::MMAPBATCH_V2,
        abi::DM_OP,
        abi::RESTRICT,
        abi::MMAP_RESOURCE,
        abi::IRQFD,
        abi::IOEVENTFD,
        abi::PCIDEV_GET_GSI,
    ] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::EFAULT)?;
    }
    // Refused pointers leave the file unrestricted.
    // SAFETY: XENVER_version takes no address.
    unsafe { file.hypercall(XEN_VERSION, [0; 5]) }?;
    Ok(())
}

pub fn callers_of_32_bits() -> TestResult {
    let file = Privcmd::open()?;
    for request in [abi::HYPERCALL, abi::DM_OP, abi::RESTRICT] {
        sys::ioctl_of_32_bits(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

pub fn proc_privcmd() -> TestResult {
    let file = Privcmd::open_path("/proc/xen/privcmd", 0)?;
    // SAFETY: XENVER_version takes no address.
    let version = unsafe { file.hypercall(XEN_VERSION, [0; 5]) }?;
    equal(
        (version >> 16) as u32,
        Xen::open()?.version()?.0,
        "the version",
    )?;
    each_kind(|domain| {
        let frames = domain.populate(4)?;
        let memory = file.map_frames(domain.id(), &frames)?;
        memory.fill(0x5a);
        equal(
            memory.read_at::<u8>(4095),
            0x5a,
            "a byte of a foreign frame",
        )
    })
}

pub fn passed_over_a_socket() -> TestResult {
    let (here, there) = sys::socket_pair()?;
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    file.restrict(domain.id())?;
    sys::send_descriptor(&here, &file)?;
    drop(file);
    // The one who gets it is bound by the same restriction.
    let child = Child::fork(|| {
        let Ok(file) = sys::receive_descriptor(&there) else {
            return 1;
        };
        let mut call = abi::Hypercall {
            op: XEN_VERSION,
            ..Plain::zeroed()
        };
        let refused = sys::ioctl_struct(&file, abi::HYPERCALL, &mut call);
        i32::from(refused != Err(sys::Errno(libc::EPERM)))
    })?;
    equal(child.wait(), Exit::Status(0), "the receiver's end")
}

/// The backend for devices that guests are given is who knows. Without it nobody can tell, and where it is there it
/// has no device of this number.
pub fn gsi_refused() -> TestResult {
    let file = Privcmd::open()?;
    let nobody = match std::fs::exists("/sys/bus/pci/drivers/pciback")? {
        true => libc::ENODEV,
        false => libc::EOPNOTSUPP,
    };
    for device in [0, 0x0000_0100, 0xffff_ff00, u32::MAX] {
        file.gsi_of(device).fails_with(nobody)?;
    }
    Ok(())
}

/// What a restricted file refuses for a domain: each request, and what it says.
fn refusals(file: &Privcmd, dom: u16) -> TestResult {
    let range = file.reserve(1)?;
    file.mmap_batch(dom, range.addr(), &[1], &mut [0])
        .fails_with(libc::EPERM)?;
    file.mmap_batch_v1(dom, range.addr(), &mut [1])
        .fails_with(libc::EPERM)?;
    file.dm_op(dom, &[]).fails_with(libc::EPERM)?;
    let resource = Resource {
        dom,
        kind: grant::RESOURCE,
        id: 0,
    };
    file.resource_size(resource).fails_with(libc::EPERM)?;
    file.map_resource_at(resource, 0, 1, range.addr())
        .fails_with(libc::EPERM)?;
    let eventfd = sys::eventfd()?;
    file.irqfd(dom, &eventfd, &[0; 16], 0)
        .fails_with(libc::EPERM)?;
    file.irqfd(dom, &eventfd, &[], abi::DEASSIGN)
        .fails_with(libc::EPERM)?;
    let ioeventfd = abi::Ioeventfd {
        dom,
        addr_len: 4,
        vcpus: 1,
        ..Plain::zeroed()
    };
    file.ioeventfd(&ioeventfd).fails_with(libc::EPERM)?;
    if crate::boot::kind() == Some(Kind::Pv) {
        file.mmap(dom, &[]).fails_with(libc::EPERM)?;
    }
    // SAFETY: XENVER_version takes no address.
    unsafe { file.hypercall(XEN_VERSION, [0; 5]) }.fails_with(libc::EPERM)
}

/// What pciback does for the devices that it has, done by a module that has none: see `tests/kernel/gsi.c`.
struct Backend(Aid);

impl Backend {
    const KNOWN: (u32, u32) = (0x0001_021c, 23);
    const WITHOUT: u32 = 0x0001_021d;

    fn load() -> TestResult<Self> {
        if std::fs::exists("/sys/bus/pci/drivers/pciback")? {
            return skip("there is pciback");
        }
        Aid::load("xen-gsi").map(Self)
    }
}

pub fn gsi_found() -> TestResult {
    let backend = Backend::load()?;
    let file = Privcmd::open()?;
    let (device, gsi) = Backend::KNOWN;
    equal(file.gsi_of(device)?, gsi, "the device's GSI")?;
    file.gsi_of(device + 8).fails_with(libc::ENODEV)?;
    drop(backend.0);
    file.gsi_of(device).fails_with(libc::EOPNOTSUPP)
}

pub fn gsi_of_none() -> TestResult {
    let _backend = Backend::load()?;
    Privcmd::open()?
        .gsi_of(Backend::WITHOUT)
        .fails_with(libc::EINVAL)
}

pub fn restrict() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(1)?;
        let file = Privcmd::open()?;
        file.restrict(domain.id())?;
        for other in [0, domain.id() + 1, DOMID_SELF, DOMID_XEN, u16::MAX] {
            refusals(&file, other)?;
        }
        let memory = file.map_frames(domain.id(), &frames)?;
        memory.write_at(0, &1_u64);
        let table = Resource {
            dom: domain.id(),
            kind: grant::RESOURCE,
            id: 0,
        };
        check(file.resource_size(table)? > 0, "a grant table of no frames")?;
        file.map_resource(table, 0, 1)?;
        // Another file is not concerned.
        Xen::open()?.version()?;
        Ok(())
    })
}

pub fn restrict_again() -> TestResult {
    let file = Privcmd::open()?;
    file.restrict(7)?;
    file.restrict(7)?;
    file.restrict(8).fails_with(libc::EINVAL)?;
    file.restrict(0).fails_with(libc::EINVAL)?;
    file.restrict(7)?;
    refusals(&file, 8)
}

pub fn restrict_reserved() -> TestResult {
    let file = Privcmd::open()?;
    for domid in [
        DOMID_FIRST_RESERVED,
        DOMID_SELF,
        DOMID_XEN,
        0x7ff4,
        u16::MAX,
    ] {
        file.restrict(domid).fails_with(libc::EINVAL)?;
    }
    // Refused means not restricted.
    // SAFETY: XENVER_version takes no address.
    unsafe { file.hypercall(XEN_VERSION, [0; 5]) }?;
    Ok(())
}

pub fn restrict_gsi() -> TestResult {
    let file = Privcmd::open()?;
    file.restrict(7)?;
    file.gsi_of(0).fails_with(libc::EPERM)
}

pub fn restrict_keeps_ranges() -> TestResult {
    each_kind(|domain| {
        let frames = domain.populate(2)?;
        let file = Privcmd::open()?;
        let memory = file.map_frames(domain.id(), &frames)?;
        memory.write_at(4096, &0x1234_u32);
        file.restrict(domain.id() + 1)?;
        equal(
            memory.read_at(4096),
            0x1234_u32,
            "a word of a frame mapped before",
        )?;
        memory.unmap()?;
        Ok(())
    })
}

/// What `/proc/self/fdinfo` says of a file, without the lines that all files have.
fn fdinfo(file: &Privcmd) -> TestResult<String> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let own = text.lines().filter(|l| {
        !["pos:", "flags:", "mnt_id:", "ino:"]
            .iter()
            .any(|f| l.starts_with(f))
    });
    Ok(own.collect::<Vec<_>>().join(", ").replace('\t', " "))
}

pub fn shown_in_fdinfo() -> TestResult {
    let (one, other) = (BareDomain::new(Kind::Pv)?, BareDomain::new(Kind::Pvh)?);
    let file = Privcmd::open()?;
    equal(
        fdinfo(&file)?.as_str(),
        "restricted-to: none, irqfds: 0, ioeventfds: 0, ranges: 0",
        "what is said of a fresh file",
    )?;
    let ranges = (
        file.map_frames(one.id(), &one.populate(3)?)?,
        file.map_frames(other.id(), &other.populate(20)?)?,
        file.reserve(7)?,
    );
    let eventfd = sys::eventfd()?;
    file.irqfd(other.id(), &eventfd, &[0; 16], 0)?;
    file.restrict(other.id())?;
    equal(
        fdinfo(&file)?,
        format!(
            "restricted-to: {}, irqfds: 1, ioeventfds: 0, ranges: 3, frames: 3 of domain {}, frames: 20 of domain {}",
            other.id(),
            one.id(),
            other.id()
        ),
        "what is said of a file with ranges",
    )?;
    drop(ranges.0);
    drop(eventfd);
    equal(
        fdinfo(&file)?,
        format!(
            "restricted-to: {0}, irqfds: 0, ioeventfds: 0, ranges: 2, frames: 20 of domain {0}",
            other.id(),
        ),
        "what is said of a file with less",
    )
}

/// A count of the driver, for as long as there is the file.
pub(super) fn counted(name: &str) -> TestResult<u64> {
    let text = std::fs::read_to_string("/sys/kernel/debug/xen_privcmd/calls")?;
    let count = text.lines().find_map(|l| {
        let (first, count) = l.split_once(' ')?;
        (first == name).then(|| count.trim().parse().ok())?
    });
    match count {
        Some(count) => Ok(count),
        None => crate::ktap::fail(format_args!("no count of {name}")),
    }
}

pub fn counts_calls() -> TestResult {
    let file = Privcmd::open()?;
    // Daemons make calls at any time, but hardly of these.
    let names = ["hypercall_xen_version", "restrict", "mmap", "irqfd"];
    let before: Vec<u64> = names
        .iter()
        .map(|n| counted(n))
        .collect::<TestResult<_>>()?;
    let failed = counted("failed")?;
    let refused = counted("hypercall_failed")?;
    // SAFETY: XENVER_version takes no address, and there is no command of the other number.
    unsafe {
        file.hypercall(XEN_VERSION, [0; 5])?;
        file.hypercall(XEN_VERSION, [9999, 0, 0, 0, 0])
            .fails_with(libc::ENOSYS)?;
    }
    file.restrict(u16::MAX).fails_with(libc::EINVAL)?;
    file.restrict(7)?;
    file.irqfd(8, &file, &[], 0).fails_with(libc::EPERM)?;
    for ((name, before), calls) in names.iter().zip(before).zip([2, 2, 0, 1]) {
        equal(counted(name)?, before + calls, name)?;
    }
    check(counted("failed")? >= failed + 2, "failures are not counted")?;
    check(
        counted("hypercall_failed")? > refused,
        "what Xen refuses is not counted",
    )
}
