// SPDX-License-Identifier: GPL-2.0

//! IRQFD and IOEVENTFD.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::device_model::{IoreqServer, Operation};
use crate::abi::privcmd::{self as abi, Ioeventfd};
use crate::device::{Evtchn, Privcmd};
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::resources::KernelLog;
use crate::suite::{NEVER, SOON};
use crate::sys::{self, Mapping, PAGE};
use crate::xen::{BareDomain, Kind};

pub(super) fn signal(eventfd: &OwnedFd) -> sys::Result<usize> {
    sys::write(eventfd, &1_u64.to_ne_bytes())
}

/// Whether a bare domain has been shut down.
fn is_shut_down(domain: &BareDomain) -> bool {
    domain
        .xen()
        .domain_info(domain.id())
        .is_ok_and(|i| i.flags & 4 != 0)
}

/// An eventfd that shuts a domain down when it fires.
fn shutdown_fd(file: &Privcmd, domain: &BareDomain) -> sys::Result<OwnedFd> {
    let eventfd = sys::eventfd()?;
    file.irqfd(
        domain.id(),
        &eventfd,
        &Operation::remote_shutdown().bytes(),
        0,
    )?;
    Ok(eventfd)
}

pub fn irqfd_injects() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = shutdown_fd(&file, &domain)?;
    check(
        !is_shut_down(&domain),
        "the operation was made before the eventfd fired",
    )?;
    signal(&eventfd)?;
    check(
        sys::eventually(SOON, || is_shut_down(&domain)),
        "the operation was not made",
    )?;
    // The count is taken.
    sys::read(&eventfd, &mut [0; 8]).fails_with(libc::EAGAIN)?;
    for _ in 0..100 {
        signal(&eventfd)?;
    }
    file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)?;
    Ok(())
}

pub fn irqfd_pending_at_once() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = sys::eventfd()?;
    signal(&eventfd)?;
    file.irqfd(
        domain.id(),
        &eventfd,
        &Operation::remote_shutdown().bytes(),
        0,
    )?;
    check(
        sys::eventually(SOON, || is_shut_down(&domain)),
        "the operation was not made",
    )
}

pub fn irqfd_deassign() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = shutdown_fd(&file, &domain)?;
    file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)?;
    signal(&eventfd)?;
    std::thread::sleep(NEVER);
    check(
        !is_shut_down(&domain),
        "the operation was made after it was taken back",
    )?;
    // Once more, and for another.
    sys::read(&eventfd, &mut [0; 8])?;
    file.irqfd(
        domain.id(),
        &eventfd,
        &Operation::remote_shutdown().bytes(),
        0,
    )?;
    signal(&eventfd)?;
    check(
        sys::eventually(SOON, || is_shut_down(&domain)),
        "the operation was not made",
    )
}

pub fn irqfd_refused() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = shutdown_fd(&file, &domain)?;
    let operation = Operation::remote_shutdown().bytes();
    let dom = domain.id();
    file.irqfd(dom, &eventfd, &operation, 0)
        .fails_with(libc::EBUSY)?;
    file.irqfd(dom + 1, &eventfd, &operation, 0)
        .fails_with(libc::EBUSY)?;
    let fresh = sys::eventfd()?;
    for flags in [2, 3, 1 << 31] {
        file.irqfd(dom, &fresh, &operation, flags)
            .fails_with(libc::EINVAL)?;
    }
    // Not an eventfd, and nothing at all.
    file.irqfd(dom, &file, &operation, 0)
        .fails_with(libc::EINVAL)?;
    file.irqfd(dom, &file, &[], abi::DEASSIGN)
        .fails_with(libc::EINVAL)?;
    let raw = |fd: u32, dm_op: u64, flags: u32| {
        let mut argument = abi::Irqfd {
            dm_op,
            size: 16,
            fd,
            flags,
            dom,
            pad: [0; 2],
        };
        sys::ioctl_struct(&file, abi::IRQFD, &mut argument)
    };
    raw(u32::MAX, operation.as_ptr() as u64, 0).fails_with(libc::EBADF)?;
    raw(u32::MAX, operation.as_ptr() as u64, abi::DEASSIGN).fails_with(libc::EBADF)?;
    raw(fresh.as_raw_fd() as u32, 8, 0).fails_with(libc::EFAULT)?;
    // What was refused left nothing: the eventfd can be used.
    file.irqfd(dom, &fresh, &operation, 0)?;
    file.irqfd(dom, &fresh, &[], abi::DEASSIGN)?;
    file.irqfd(dom, &eventfd, &[], abi::DEASSIGN)?;
    check(!is_shut_down(&domain), "the operation was made")
}

pub fn irqfd_too_large() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = sys::eventfd()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    for size in [4097, 1 << 20, u32::MAX - 100, u32::MAX] {
        let mut argument = abi::Irqfd {
            dm_op: memory.addr() as u64,
            size,
            fd: eventfd.as_raw_fd() as u32,
            flags: 0,
            dom: domain.id(),
            pad: [0; 2],
        };
        sys::ioctl_struct(&file, abi::IRQFD, &mut argument).fails_with(libc::EINVAL)?;
    }
    Ok(())
}

/// An eventfd may be signalled at any time, so what it does must not take long.
pub fn irqfd_lengthy() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let eventfd = sys::eventfd()?;
    for operation in Operation::lengthy() {
        file.irqfd(domain.id(), &eventfd, &operation.bytes(), 0)
            .fails_with(libc::EINVAL)?;
    }
    // Others are taken as they are, even if Xen will not know them.
    for operation in [vec![0; 16], vec![], vec![1, 0], vec![0xff; 48]] {
        file.irqfd(domain.id(), &eventfd, &operation, 0)?;
        signal(&eventfd)?;
        file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)?;
    }
    Ok(())
}

/// Who may inject cannot fill the kernel's log with what Xen refuses.
pub fn irqfd_refusals_told() -> TestResult {
    const REFUSALS: usize = 200;
    const TOLD: usize = 10;
    const WITHIN: Duration = Duration::from_secs(5);

    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let log = KernelLog::from_now()?;
    let refuse = || -> sys::Result<()> {
        let eventfd = sys::eventfd()?;
        file.irqfd(domain.id(), &eventfd, &[0xff; 48], 0)?;
        signal(&eventfd)?;
        file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)
    };
    let told = || {
        let lines = log.new_lines();
        lines
            .iter()
            .filter(|l| l.contains("failed to inject"))
            .count()
    };

    // Others may have used up what may be told now.
    check(
        sys::eventually(SOON, || refuse().is_ok() && told() > 0),
        "a refusal is not told",
    )?;
    let start = Instant::now();
    for _ in 0..REFUSALS {
        refuse()?;
    }
    let periods = start.elapsed().as_secs() / WITHIN.as_secs();
    let most = TOLD * (periods as usize + 2);
    let told = told();
    check(
        told <= most && told < REFUSALS,
        format_args!("{told} of {REFUSALS} refusals were told"),
    )
}

pub fn irqfd_ends_with_eventfd() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    for _ in 0..50 {
        drop(shutdown_fd(&file, &domain)?);
    }
    check(!is_shut_down(&domain), "the operation was made")
}

/// Whatever an ioeventfd needs, in place.
pub struct Device {
    pub file: Privcmd,
    pub events: Evtchn,
    pub domain: BareDomain,
    server: IoreqServer,
    /// The requests of the vCPUs.
    pub(super) page: Mapping,
    pub port: u32,
    pub(super) eventfd: OwnedFd,
}

impl Device {
    pub fn new() -> TestResult<Self> {
        let domain = BareDomain::new(Kind::Pvh)?;
        let (file, events) = (Privcmd::open()?, Evtchn::open_nonblocking()?);
        let server = IoreqServer::create(&file, &domain)?;
        let page = file.map_resource(server.resource(), 1, 1)?;
        server.enable(&file)?;
        // The vCPU's port, at its place in `struct ioreq`.
        let remote: u32 = page.read_at(24);
        let port = events.bind_interdomain(domain.id().into(), remote)?;
        Ok(Self {
            file,
            events,
            domain,
            server,
            page,
            port,
            eventfd: sys::eventfd()?,
        })
    }

    /// Has accesses to a page of registers become requests.
    pub(super) fn serve(&self, registers: u64) -> sys::Result<()> {
        self.server.serve(&self.file, registers, PAGE as u64)
    }

    /// Closes everything, and sees that the domain goes.
    pub(super) fn end(self) -> TestResult {
        let domain = self.domain;
        drop((self.file, self.events, self.page, self.eventfd));
        check(domain.destroyed_within(SOON)?, "pages are still held")
    }

    pub fn argument(&self, ports: &[u32]) -> Ioeventfd {
        Ioeventfd {
            ioreq: self.page.addr() as u64,
            ports: ports.as_ptr() as u64,
            addr: 0x0a00_0000,
            addr_len: 4,
            event_fd: self.eventfd.as_raw_fd() as u32,
            vcpus: ports.len() as u32,
            vq: 0,
            flags: 0,
            dom: self.domain.id(),
            pad: [0; 2],
        }
    }
}

pub fn ioeventfd_assign() -> TestResult {
    let device = Device::new()?;
    let ports = [device.port];
    let argument = device.argument(&ports);
    let take_back = argument.undone();
    for _ in 0..10 {
        device.file.ioeventfd(&argument)?;
        device.file.ioeventfd(&argument).fails_with(libc::EBUSY)?;
        device.file.ioeventfd(&take_back)?;
        device.file.ioeventfd(&take_back).fails_with(libc::ENODEV)?;
    }
    device.events.unbind(device.port)?;
    Ok(())
}

pub fn ioeventfd_refused() -> TestResult {
    let device = Device::new()?;
    let ports = [device.port];
    let good = device.argument(&ports);
    let bad = |argument: Ioeventfd| device.file.ioeventfd(&argument);
    bad(Ioeventfd { flags: 2, ..good }).fails_with(libc::EINVAL)?;
    bad(Ioeventfd {
        flags: u32::MAX,
        ..good
    })
    .fails_with(libc::EINVAL)?;
    for addr_len in [0, 3, 16, u32::MAX] {
        bad(Ioeventfd { addr_len, ..good }).fails_with(libc::EINVAL)?;
    }
    bad(Ioeventfd {
        addr: u64::MAX - 1,
        ..good
    })
    .fails_with(libc::EINVAL)?;
    for vcpus in [0, 4097, u32::MAX] {
        bad(Ioeventfd { vcpus, ..good }).fails_with(libc::EINVAL)?;
    }
    bad(Ioeventfd {
        event_fd: u32::MAX,
        ..good
    })
    .fails_with(libc::EBADF)?;
    bad(Ioeventfd {
        event_fd: device.events.as_raw_fd() as u32,
        ..good
    })
    .fails_with(libc::EINVAL)?;
    bad(Ioeventfd { ports: 8, ..good }).fails_with(libc::EFAULT)?;
    // What was refused left nothing.
    bad(good)?;
    bad(good.undone()).map_err(crate::ktap::Failure::from)
}

pub fn ioeventfd_foreign_page() -> TestResult {
    let device = Device::new()?;
    let ports = [device.port];
    let good = device.argument(&ports);
    let anonymous = Mapping::anonymous(PAGE)?;
    anonymous.fill(0);
    let unfilled = device.file.reserve(1)?;
    let frames = device.domain.populate(1)?;
    let memory = device.file.map_frames(device.domain.id(), &frames)?;
    let other = BareDomain::new(Kind::Pvh)?;
    let table = device.file.map_resource(
        crate::device::privcmd::Resource {
            dom: other.id(),
            kind: crate::xen::grant::RESOURCE,
            id: 0,
        },
        0,
        1,
    )?;
    let addresses = [
        anonymous.addr(),
        unfilled.addr(),
        memory.addr(),
        table.addr(),
        0,
        8,
        usize::MAX - 100,
        device.page.addr() + PAGE,
    ];
    for addr in addresses {
        let argument = Ioeventfd {
            ioreq: addr as u64,
            ..good
        };
        device
            .file
            .ioeventfd(&argument)
            .fails_with_any(&[libc::EINVAL, libc::EFAULT])?;
    }
    // More vCPUs than the page has requests.
    let ports = [device.port; 200];
    device
        .file
        .ioeventfd(&device.argument(&ports))
        .fails_with(libc::EINVAL)
}

pub fn ioeventfd_foreign_port() -> TestResult {
    let device = Device::new()?;
    let (near, far) = device.events.loopback()?;
    let unbound = device.events.bind_unbound(device.domain.id().into())?;
    let other = BareDomain::new(Kind::Pv)?;
    let remote = other.xen().alloc_unbound(other.id(), 0)?;
    let others = device.events.bind_interdomain(other.id().into(), remote)?;
    for port in [near, unbound, others, 0, 1, 1 << 20, u32::MAX] {
        let ports = [port];
        device
            .file
            .ioeventfd(&device.argument(&ports))
            .fails_with(libc::EINVAL)?;
    }
    // The channel that was refused still works.
    device.events.drain()?;
    device.events.notify(near)?;
    equal(device.events.next(SOON)?, far, "the port that is pending")
}

pub fn ioeventfd_ends_with_file() -> TestResult {
    let device = Device::new()?;
    let ports = [device.port];
    let argument = device.argument(&ports);
    let other = Privcmd::open()?;
    other.ioeventfd(&argument)?;
    drop(other);
    // What the closed file had is free again.
    device.file.ioeventfd(&argument)?;
    device.file.ioeventfd(&argument.undone())?;
    // Pinned: its page may be unmapped before it is taken back, or never is.
    device.file.ioeventfd(&argument)?;
    let Device {
        file,
        domain,
        page,
        eventfd,
        events,
        ..
    } = device;
    page.unmap()?;
    drop((eventfd, events, file));
    check(domain.destroyed_within(SOON)?, "pages are still held")
}
