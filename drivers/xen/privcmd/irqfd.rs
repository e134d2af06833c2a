// SPDX-License-Identifier: GPL-2.0

//! eventfds that inject an interrupt into a guest, or whatever else a device model's operation
//! does: `IRQFD`.
//!
//! Each belongs to the file that it was made on, and goes with it. One whose eventfd has been closed
//! is dead, and swept out when the file is next asked for something of the kind.

use crate::{
    dm_op::BUF_MAX_SIZE,
    ioctl,
    stats::{
        Call,
        CALLS, //
    },
};
use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    new_mutex,
    prelude::*,
    sync::Mutex,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    dm_op::Prepared,
    ext::{
        eventfd::{
            EventFd,
            EventFdWatch,
            Signalled, //
        },
        log, //
    },
    restriction::Authorised, //
};

/// `PRIVCMD_IRQFD_FLAG_DEASSIGN`.
const DEASSIGN: u32 = 1;

/// What is done when the eventfd is signalled.
struct Injection {
    operation: Prepared,
    /// Whether it failed the last time: it is said once, not each time.
    failed: AtomicBool,
}

impl Signalled for Injection {
    fn signalled(&self) {
        CALLS.inc(Call::Injection);
        match self.operation.run() {
            Ok(()) => self.failed.store(false, Ordering::Relaxed),
            Err(e) => {
                CALLS.inc(Call::InjectionFailed);
                if !self.failed.swap(true, Ordering::Relaxed) && log::may_tell() {
                    pr_err!(
                        "failed to inject into domain {}: {}\n",
                        self.operation.domain().raw(),
                        e.to_errno()
                    );
                }
            }
        }
    }
}

/// Those of a file.
#[pin_data]
pub(crate) struct IrqFds {
    #[pin]
    list: Mutex<KVec<Pin<KBox<EventFdWatch<Injection>>>>>,
}

impl IrqFds {
    /// None.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_mutex!(KVec::new()),
        })
    }

    /// How many are alive.
    pub(crate) fn len(&self) -> usize {
        let list = self.list.lock();
        list.iter().filter(|watch| !watch.is_hung_up()).count()
    }

    /// `IRQFD`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for flags that do not exist, an operation beyond the limit of `DM_OP` or one that
    /// may take long, or what is no eventfd; `EBADF` for no file; `EBUSY` when the eventfd is used already; `EFAULT`,
    /// `ENOMEM`. Taking back what was never there is no error.
    pub(crate) fn irqfd(&self, right: Authorised<'_>, request: &ioctl::IrqFd) -> Result {
        match request.flags {
            0 => self.assign(right, request),
            DEASSIGN => self.deassign(request.fd),
            _ => Err(EINVAL),
        }
    }

    fn assign(&self, right: Authorised<'_>, request: &ioctl::IrqFd) -> Result {
        if request.size > BUF_MAX_SIZE.get() {
            return Err(EINVAL);
        }
        let size = request.size as usize;
        let address = usize::try_from(request.dm_op).map_err(|_| EFAULT)?;
        let mut operation = KVec::with_capacity(size, GFP_KERNEL | __GFP_NOWARN)?;
        UserSlice::new(UserPtr::from_addr(address), size).read_all(&mut operation, GFP_KERNEL)?;
        let injection = Injection {
            operation: Prepared::new(right, operation)?,
            failed: AtomicBool::new(false),
        };

        let mut list = self.list.lock();
        list.retain(|watch| !watch.is_hung_up());
        // An eventfd that has been signalled before has its operation done at once: nothing may
        // fail afterwards.
        list.reserve(1, GFP_KERNEL)?;
        let watch = KBox::try_pin_init(EventFdWatch::register(request.fd, injection), GFP_KERNEL)?;
        list.push(watch, GFP_KERNEL)?;
        Ok(())
    }

    /// When this returns the operation is not under way, and is not done any more.
    fn deassign(&self, fd: u32) -> Result {
        let eventfd = EventFd::from_fd(fd)?;
        let mut list = self.list.lock();
        list.retain(|watch| !watch.is_hung_up() && !watch.eventfd().is(&eventfd));
        Ok(())
    }
}
