// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/privcmd`, and what its ioctls ask for.
//!
//! Each command takes the right that it needs from the file's restriction: the functions that do
//! the work want to see it.

use crate::{
    dm_op,
    ioctl,
    ioeventfd::IoEventFds,
    irqfd::IrqFds,
    mmap,
    resource,
    stats::{
        Call,
        CALLS, //
    },
    target, //
};
use kernel::{
    fs::File,
    mm::virt::VmaNew,
    new_mutex,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        Arc,
        Mutex, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    domain,
    domid::DomId,
    ext::{
        errno::enosys,
        file::{
            FileOperations,
            OpenFile, //
        },
        vma, //
    },
    foreign::{
        ForeignRange,
        Ledger, //
    },
    hypercall,
    restriction::{
        Authorised,
        Denied,
        NarrowError,
        Restriction,
        Unrestricted, //
    },
};

/// What belongs to an open file.
#[pin_data]
pub(crate) struct PrivcmdFile {
    restriction: Restriction,
    /// What its ranges hold, from the first one on.
    #[pin]
    ledger: Mutex<Option<Arc<Ledger>>>,
    #[pin]
    irqfds: IrqFds,
    #[pin]
    ioeventfds: IoEventFds,
}

/// The argument of a command, in the caller's memory.
#[derive(Copy, Clone)]
pub(crate) struct Argument(usize);

impl Argument {
    /// Reads it.
    #[inline]
    pub(crate) fn read<T: FromBytes>(self) -> Result<T> {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<T>())
            .reader()
            .read()
    }

    /// Writes all of it.
    pub(crate) fn write<T: AsBytes>(self, value: &T) -> Result {
        UserSlice::new(UserPtr::from_addr(self.0), size_of::<T>())
            .writer()
            .write(value)
    }

    /// What is `offset` bytes into it.
    pub(crate) fn field(self, offset: usize) -> Self {
        // The copy that follows refuses what has wrapped out of user space.
        Self(self.0.wrapping_add(offset))
    }
}

fn denied(_: Denied) -> Error {
    EPERM
}

impl PrivcmdFile {
    /// The right to act on `domain`.
    #[inline]
    fn authorise(&self, domain: DomId) -> Result<Authorised<'_>> {
        self.restriction.check(domain).map_err(denied)
    }

    /// The right to do anything.
    #[inline]
    fn unrestricted(&self) -> Result<Unrestricted<'_>> {
        self.restriction.unrestricted().map_err(denied)
    }

    fn ledger(&self) -> Result<Arc<Ledger>> {
        let mut ledger = self.ledger.lock();
        if let Some(ledger) = &*ledger {
            return Ok(ledger.clone());
        }
        let new = Ledger::new()?;
        *ledger = Some(new.clone());
        Ok(new)
    }

    #[inline]
    fn hypercall(&self, argument: Argument) -> Result<isize> {
        let right = self.unrestricted()?;
        let request: ioctl::Hypercall = argument.read()?;
        CALLS.inc(Call::hypercall(request.op));
        let ret = hypercall::call(right, request.op, request.arg.map(|arg| arg as usize))?;
        if ret < 0 {
            CALLS.inc(Call::HypercallFailed);
        }
        Ok(ret)
    }

    fn restrict(&self, argument: Argument) -> Result {
        CALLS.inc(Call::Restrict);
        let domain = DomId::new(argument.read()?);
        match self.restriction.narrow(domain) {
            Ok(()) => Ok(()),
            // Asked for once more.
            Err(NarrowError::Narrowed(now)) if now == domain => Ok(()),
            Err(_) => Err(EINVAL),
        }
    }

    fn pcidev_get_gsi(&self, argument: Argument) -> Result {
        CALLS.inc(Call::PciDevGetGsi);
        let right = self.unrestricted()?;
        let mut request: ioctl::PciDevGetGsi = argument.read()?;
        request.gsi = domain::pci_device_gsi(right, request.sbdf)?;
        argument.write(&request)
    }

    fn other(&self, cmd: u32, argument: Argument) -> Result<isize> {
        match cmd {
            ioctl::MMAP => {
                CALLS.inc(Call::Mmap);
                // There is nothing like it on a translated kernel, whatever the argument.
                if !domain::is_pv() {
                    return Err(enosys());
                }
                let request: ioctl::Mmap = argument.read()?;
                mmap::tiles(self.authorise(request.domain())?, &request)?;
            }
            ioctl::MMAPBATCH => {
                CALLS.inc(Call::MmapBatch);
                let request: ioctl::MmapBatch = argument.read()?;
                mmap::batch_v1(self.authorise(request.domain())?, &request)?;
            }
            ioctl::MMAPBATCH_V2 => {
                CALLS.inc(Call::MmapBatch);
                let request: ioctl::MmapBatchV2 = argument.read()?;
                mmap::batch_v2(self.authorise(request.domain())?, &request)?;
            }
            ioctl::DM_OP => {
                CALLS.inc(Call::DmOp);
                let request: ioctl::DmOp = argument.read()?;
                return dm_op::dm_op(self.authorise(request.domain())?, &request);
            }
            ioctl::RESTRICT => self.restrict(argument)?,
            ioctl::MMAP_RESOURCE => {
                CALLS.inc(Call::MmapResource);
                let request: ioctl::MmapResource = argument.read()?;
                resource::map(self.authorise(request.domain())?, &request, argument)?;
            }
            ioctl::IRQFD => {
                CALLS.inc(Call::IrqFd);
                let request: ioctl::IrqFd = argument.read()?;
                self.irqfds
                    .irqfd(self.authorise(request.domain())?, &request)?;
            }
            ioctl::IOEVENTFD => {
                CALLS.inc(Call::IoEventFd);
                let request: ioctl::IoEventFd = argument.read()?;
                self.ioeventfds
                    .ioeventfd(self.authorise(request.domain())?, &request)?;
            }
            ioctl::PCIDEV_GET_GSI => self.pcidev_get_gsi(argument)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

#[vtable]
impl FileOperations for PrivcmdFile {
    type Data = Pin<KBox<Self>>;

    fn open(_file: &OpenFile<'_>) -> Result<Pin<KBox<Self>>> {
        CALLS.inc(Call::Open);
        let restriction = target::restriction()?;
        KBox::pin_init(
            pin_init!(Self {
                restriction,
                ledger <- new_mutex!(None),
                irqfds <- IrqFds::new(),
                ioeventfds <- IoEventFds::new(),
            }),
            GFP_KERNEL,
        )
    }

    #[inline]
    fn ioctl(this: Pin<&Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let argument = Argument(arg);
        let result = if cmd == ioctl::HYPERCALL {
            this.hypercall(argument)
        } else {
            this.other(cmd, argument)
        };
        if result.is_err() {
            CALLS.inc(Call::Failed);
        }
        result
    }

    fn mmap(this: Pin<&Self>, _file: &File, vma: &VmaNew) -> Result {
        ForeignRange::install(vma, this.ledger()?)
    }

    fn may_place(_this: Pin<&Self>, page_offset: usize) -> Result {
        if vma::refuses_move(page_offset) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn show_fdinfo(this: Pin<&Self>, m: &SeqFile) {
        match this.restriction.domain() {
            Some(domain) => seq_print!(m, "restricted-to:\t{}\n", domain.raw()),
            None => seq_print!(m, "restricted-to:\tnone\n"),
        }
        seq_print!(m, "irqfds:\t{}\n", this.irqfds.len());
        seq_print!(m, "ioeventfds:\t{}\n", this.ioeventfds.len());
        let Some(ledger) = this.ledger.lock().clone() else {
            seq_print!(m, "ranges:\t0\n");
            return;
        };
        seq_print!(m, "ranges:\t{}\n", ledger.ranges());
        ledger.each(|domain, frames| {
            seq_print!(m, "frames:\t{} of domain {}\n", frames, domain.raw());
        });
    }
}
