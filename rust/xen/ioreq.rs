// SPDX-License-Identifier: GPL-2.0

//! Requests that Xen has for a device model, answered in the kernel.
//!
//! A vCPU that accesses an emulated device stops until its request, which Xen puts into a page that
//! it shares with the device model, has been answered. For a virtio device's queue notification
//! the answer is to signal an eventfd, which needs no detour through a process.
//!
//! C header: `include/xen/interface/hvm/ioreq.h`.

use crate::{
    bindings,
    event::{
        self,
        Port, //
    },
    ext::{
        eventfd::EventFd,
        irq_lock::IrqLock, //
    },
    foreign::IoreqFrame,
    shared_port::SharedHandler, //
};
use core::{
    ptr,
    sync::atomic::{
        AtomicU8,
        Ordering, //
    },
};
use kernel::{
    c_str,
    page::PAGE_SIZE,
    prelude::*,
    static_lock_class,
    sync::Arc, //
};

/// Of how many vCPUs a page has the requests.
pub const REQUESTS: usize = PAGE_SIZE / size_of::<bindings::ioreq>();

/// Where in a virtio device's registers the number of a queue is written to notify the device
/// (`VIRTIO_MMIO_QUEUE_NOTIFY`).
const QUEUE_NOTIFY: u64 = 0x50;

/// Where the state, and what shares its byte, is in a request.
const STATE_OFFSET: usize = 30;
const _: () = assert!(size_of::<bindings::ioreq>() == 32);

/// The bits of that byte.
const STATE_MASK: u8 = 0x0f;
const DATA_IS_POINTER: u8 = 0x10;
const READ: u8 = 0x20;

/// A queue's notification that is waited for.
pub struct Notification {
    address: u64,
    len: u32,
    queue: u32,
    eventfd: EventFd,
}

impl Notification {
    /// Of `queue` of the device whose registers begin at `base` in the guest's physical address
    /// space, by a write of `len` bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` for registers beyond the end, or any length but 1, 2, 4 and 8.
    pub fn new(base: u64, len: u32, queue: u32, eventfd: EventFd) -> Result<Self> {
        if !matches!(len, 1 | 2 | 4 | 8) {
            return Err(EINVAL);
        }
        base.checked_add(u64::from(len)).ok_or(EINVAL)?;
        Ok(Self {
            address: base.checked_add(QUEUE_NOTIFY).ok_or(EINVAL)?,
            len,
            queue,
            eventfd,
        })
    }
}

/// A page of requests, and the notifications among them that are answered here.
#[pin_data]
pub struct Requests {
    frame: IoreqFrame,
    #[pin]
    wanted: IrqLock<KVec<Notification>>,
}

impl Requests {
    /// No notifications yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(frame: IoreqFrame) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                frame,
                wanted <- IrqLock::new(KVec::new(), c_str!("xen ioreq"), static_lock_class!()),
            }),
            GFP_KERNEL,
        )
    }

    /// How many notifications there are.
    pub fn len(&self) -> usize {
        self.wanted.with(|wanted| wanted.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is one that signals `eventfd`.
    pub fn has(&self, eventfd: &EventFd) -> bool {
        self.wanted
            .with(|wanted| wanted.iter().any(|n| n.eventfd.is(eventfd)))
    }

    /// Adds one. The caller sees to it that one call at a time adds or removes. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn add(&self, notification: Notification) -> Result {
        let room = self.len().checked_add(1).ok_or(ENOMEM)?;
        let mut larger = KVec::with_capacity(room, GFP_KERNEL)?;
        self.wanted.with(|wanted| {
            // There is room for all: neither fails.
            for notification in wanted.drain_all() {
                let _ = larger.push_within_capacity(notification);
            }
            let _ = larger.push_within_capacity(notification);
            core::mem::swap(wanted, &mut larger);
        });
        Ok(())
    }

    /// Removes the one that signals `eventfd`, and tells whether there was one. Sleeps.
    pub fn remove(&self, eventfd: &EventFd) -> bool {
        let removed = self.wanted.with(|wanted| {
            let index = wanted.iter().position(|n| n.eventfd.is(eventfd))?;
            wanted.remove(index).ok()
        });
        // Dropped out here: it may be the last to hold the eventfd.
        removed.is_some()
    }

    /// Answers the request of `vcpu` if it is one of the notifications, and has Xen told so
    /// through `port`. Works in interrupts.
    fn answer(&self, vcpu: usize, port: Port) -> bool {
        if vcpu >= REQUESTS {
            return false;
        }
        let request = self
            .frame
            .address()
            .as_ptr()
            .cast::<bindings::ioreq>()
            .wrapping_add(vcpu);
        let state = request.cast::<u8>().wrapping_add(STATE_OFFSET);
        // SAFETY: Within the page, which stays as long as the frame does. Xen accesses it as
        // atomically as we do.
        let state = unsafe { AtomicU8::from_ptr(state) };

        // Xen says that a request is ready after it has written it.
        let flags = state.load(Ordering::Acquire);
        if u32::from(flags & STATE_MASK) != bindings::STATE_IOREQ_READY
            || flags & (DATA_IS_POINTER | READ) != 0
        {
            return false;
        }
        // SAFETY: As above; the fields are plain numbers. Each is read once.
        let (kind, address, data, size) = unsafe {
            (
                ptr::read_volatile(&raw const (*request).type_),
                ptr::read_volatile(&raw const (*request).addr),
                ptr::read_volatile(&raw const (*request).data),
                ptr::read_volatile(&raw const (*request).size),
            )
        };
        if u32::from(kind) != bindings::IOREQ_TYPE_COPY {
            return false;
        }
        let answered = self.wanted.with(|wanted| {
            let Some(found) = wanted.iter().find(|n| {
                n.address == address && n.len == size && u64::from(n.queue) == data & 0xffff
            }) else {
                return false;
            };
            let others = flags & !STATE_MASK;
            state.store(
                others | bindings::STATE_IOREQ_INPROCESS as u8,
                Ordering::Relaxed,
            );
            found.eventfd.signal();
            // What came before is done when Xen sees the answer.
            state.store(
                others | bindings::STATE_IORESP_READY as u8,
                Ordering::Release,
            );
            true
        });
        if answered {
            event::notify(port);
        }
        answered
    }
}

/// Answers the requests of one vCPU.
pub struct Vcpu {
    requests: Arc<Requests>,
    index: usize,
    answered: fn(),
}

impl Vcpu {
    /// The `index`th vCPU. `answered` is called whenever a request has been answered.
    pub fn new(requests: Arc<Requests>, index: usize, answered: fn()) -> Self {
        Self {
            requests,
            index,
            answered,
        }
    }
}

impl SharedHandler for Vcpu {
    fn event(&self, port: Port) {
        if self.requests.answer(self.index, port) {
            (self.answered)();
        }
    }
}
