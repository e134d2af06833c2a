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
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::Arc,
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
        lazy::Lazy,
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

/// What belongs to an open file. There are many that never map anything.
pub(crate) struct PrivcmdFile {
    restriction: Restriction,
    more: Lazy<More>,
}

/// What belongs to a file that has had ranges or eventfds.
#[pin_data]
struct More {
    /// What its ranges hold.
    ledger: Arc<Ledger>,
    #[pin]
    irqfds: IrqFds,
    #[pin]
    ioeventfds: IoEventFds,
}

impl More {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ledger: Ledger::new()?,
            irqfds <- IrqFds::new(),
            ioeventfds <- IoEventFds::new(),
        })
    }
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

    /// Sleeps.
    fn more(&self) -> Result<Pin<&More>> {
        self.more.get_or_init(More::new())
    }

    #[inline]
    fn hypercall(&self, argument: Argument) -> Result<isize> {
        let right = self.unrestricted()?;
        let request: hypercall::Request = argument.read()?;
        let ret = hypercall::call(right, &request, &CALLS, Call::hypercall(request.op))?;
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
                let right = self.authorise(request.domain())?;
                self.more()?.irqfds.irqfd(right, &request)?;
            }
            ioctl::IOEVENTFD => {
                CALLS.inc(Call::IoEventFd);
                let request: ioctl::IoEventFd = argument.read()?;
                let right = self.authorise(request.domain())?;
                self.more()?.ioeventfds.ioeventfd(right, &request)?;
            }
            ioctl::PCIDEV_GET_GSI => self.pcidev_get_gsi(argument)?,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

#[vtable]
impl FileOperations for PrivcmdFile {
    type Data = KBox<Self>;

    fn open(_file: &OpenFile<'_>) -> Result<KBox<Self>> {
        CALLS.inc(Call::Open);
        let file = Self {
            restriction: target::restriction()?,
            more: Lazy::new(),
        };
        Ok(KBox::new(file, GFP_KERNEL)?)
    }

    #[inline]
    fn ioctl(this: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
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

    fn mmap(this: &Self, _file: &File, vma: &VmaNew) -> Result {
        ForeignRange::install(vma, this.more()?.ledger.clone())
    }

    fn may_place(_this: &Self, page_offset: usize) -> Result {
        if vma::refuses_move(page_offset) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn show_fdinfo(this: &Self, m: &SeqFile) {
        match this.restriction.domain() {
            Some(domain) => seq_print!(m, "restricted-to:\t{}\n", domain.raw()),
            None => seq_print!(m, "restricted-to:\tnone\n"),
        }
        let more = this.more.get();
        let more = more.as_deref();
        seq_print!(m, "irqfds:\t{}\n", more.map_or(0, |more| more.irqfds.len()));
        let ioeventfds = more.map_or(0, |more| more.ioeventfds.len());
        seq_print!(m, "ioeventfds:\t{}\n", ioeventfds);
        let ranges = more.map_or(0, |more| more.ledger.ranges());
        seq_print!(m, "ranges:\t{}\n", ranges);
        let Some(More { ledger, .. }) = more else {
            return;
        };
        ledger.each(|domain, frames| {
            seq_print!(m, "frames:\t{} of domain {}\n", frames, domain.raw());
        });
    }
}
