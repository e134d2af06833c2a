// SPDX-License-Identifier: GPL-2.0

//! eventfds that are signalled when a guest notifies a queue of a virtio device: `IOEVENTFD`.
//!
//! Each belongs to the file that it was made on, and goes with it. What it uses, the page of
//! requests and the ports, is kept until then, though the process may have unmapped and closed it.

use crate::{
    ioctl,
    stats::{
        Call,
        CALLS, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    domid::DomId,
    event::Port,
    ext::eventfd::EventFd,
    foreign::IoreqFrame,
    ioreq::{
        Notification,
        Requests,
        Vcpu,
        REQUESTS, //
    },
    restriction::Authorised,
    shared_port::SharedPort, //
};

/// `PRIVCMD_IOEVENTFD_FLAG_DEASSIGN`.
const DEASSIGN: u32 = 1;

/// What is listened to on behalf of a guest: all eventfds for its requests share it.
///
/// The ports go before the page.
struct Guest {
    ports: KVec<SharedPort<Vcpu>>,
    requests: Arc<Requests>,
    address: u64,
    domain: DomId,
}

impl Guest {
    fn is_of(&self, request: &ioctl::IoEventFd) -> bool {
        self.domain == request.domain() && self.ports.len() == request.vcpus as usize
    }

    /// Begins to listen.
    fn listen(right: Authorised<'_>, request: &ioctl::IoEventFd) -> Result<Self> {
        let vcpus = request.vcpus as usize;
        // Xen has the requests of all vCPUs in one page.
        if vcpus == 0 || vcpus > REQUESTS {
            return Err(EINVAL);
        }
        let address = usize::try_from(request.ioreq).map_err(|_| EINVAL)?;
        let requests = Requests::new(IoreqFrame::at(right, address)?)?;

        let numbers = read_ports(request.ports, vcpus)?;
        let mut ports = KVec::with_capacity(vcpus, GFP_KERNEL)?;
        for (index, number) in numbers.iter().enumerate() {
            // A vCPU has a channel of its own.
            if numbers.iter().take(index).any(|other| other == number) {
                return Err(EINVAL);
            }
            let vcpu = Vcpu::new(requests.clone(), index, || CALLS.inc(Call::Notification));
            let port = SharedPort::bind(right, Port::new(*number), vcpu)?;
            ports.push(port, GFP_KERNEL)?;
        }
        Ok(Self {
            ports,
            requests,
            address: request.ioreq,
            domain: right.domain(),
        })
    }
}

fn read_ports(address: u64, count: usize) -> Result<KVec<u32>> {
    let address = usize::try_from(address).map_err(|_| EFAULT)?;
    let bytes = count.checked_mul(size_of::<u32>()).ok_or(EINVAL)?;
    let mut reader = UserSlice::new(UserPtr::from_addr(address), bytes).reader();
    let mut ports = KVec::with_capacity(count, GFP_KERNEL)?;
    for _ in 0..count {
        ports.push(reader.read()?, GFP_KERNEL)?;
    }
    Ok(ports)
}

/// Those of a file.
#[pin_data]
pub(crate) struct IoEventFds {
    #[pin]
    guests: Mutex<KVec<Guest>>,
}

impl IoEventFds {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            guests <- new_mutex!(KVec::new()),
        })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let guests = self.guests.lock();
        guests.iter().map(|guest| guest.requests.len()).sum()
    }

    /// `IOEVENTFD`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags or lengths that do not exist, for requests that are not an ioreq server's
    /// of that domain, for more vCPUs than there are requests, and for ports that do not connect
    /// the two domains; `EBADF` for no file; `EBUSY` when the eventfd is used for the guest
    /// already; `ENODEV` when one that is to be taken back is not there; `EFAULT`, `ENOMEM`.
    pub(crate) fn ioeventfd(&self, right: Authorised<'_>, request: &ioctl::IoEventFd) -> Result {
        match request.flags {
            0 => self.assign(right, request),
            DEASSIGN => self.deassign(request),
            _ => Err(EINVAL),
        }
    }

    fn assign(&self, right: Authorised<'_>, request: &ioctl::IoEventFd) -> Result {
        let eventfd = EventFd::from_fd(request.event_fd)?;
        let mut guests = self.guests.lock();
        if let Some(guest) = guests.iter().find(|g| g.address == request.ioreq) {
            if !guest.is_of(request) {
                return Err(EINVAL);
            }
            if guest.requests.has(&eventfd) {
                return Err(EBUSY);
            }
            return guest.requests.add(notification(request, eventfd)?);
        }

        let notification = notification(request, eventfd)?;
        guests.reserve(1, GFP_KERNEL)?;
        let guest = Guest::listen(right, request)?;
        guest.requests.add(notification)?;
        guests.push(guest, GFP_KERNEL)?;
        Ok(())
    }

    fn deassign(&self, request: &ioctl::IoEventFd) -> Result {
        let eventfd = EventFd::from_fd(request.event_fd)?;
        let mut guests = self.guests.lock();
        let index = guests
            .iter()
            .position(|g| g.address == request.ioreq && g.is_of(request))
            .ok_or(ENODEV)?;
        let guest = guests.get(index).ok_or(ENODEV)?;
        if !guest.requests.remove(&eventfd) {
            return Err(ENODEV);
        }
        if guest.requests.is_empty() {
            // Waits for handlers that are running.
            drop(guests.remove(index));
        }
        Ok(())
    }
}

fn notification(request: &ioctl::IoEventFd, eventfd: EventFd) -> Result<Notification> {
    Notification::new(request.addr, request.addr_len, request.vq, eventfd)
}
