// SPDX-License-Identifier: GPL-2.0

//! An open file of the device.
//!
//! C header: `include/uapi/xen/gntdev.h`.

use super::{
    copy::{
        copy_single,
        Copier, //
    },
    map::{
        Grants,
        Map, //
    },
    mapping::{
        Mapping,
        MAPPINGS, //
    },
    notify::Notify,
    table::{
        Place,
        Table, //
    },
    Call, CALLS, FILE_LIMIT, LIMIT,
};
use kernel::{
    fs::File,
    ioctl::_IO,
    mm::virt::{
        flags,
        VmaNew, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    seq_file::{
        seq_print,
        SeqFile, //
    },
    sync::{
        new_mutex,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};
use xen::{
    domid::DomId,
    event::{
        self,
        Port,
        State, //
    },
    ext::{
        file::{
            FileOperations,
            OpenFile, //
        },
        vma::{
            page_offset,
            refuses_move, //
        },
    },
    grant::{
        Access,
        Mark, //
    },
    port_ref::PortRef,
    restriction::{
        NarrowError,
        Restriction, //
    },
};

/// An open file. What is mapped keeps it beyond its being closed.
#[pin_data]
pub(crate) struct GntdevFile {
    #[pin]
    table: Table,
    restriction: Restriction,
    /// What a copy needs, kept for the next.
    #[pin]
    copier: Mutex<Option<KBox<Copier>>>,
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    #[pin]
    buffers: super::dmabuf::Buffers,
}

/// A command without direction bits, as all of the device's are.
const fn command(number: u32, size: usize) -> u32 {
    _IO(b'G' as u32, number) | (size as u32) << 16
}

const MAP_GRANT_REF: u32 = command(0, 24);
const UNMAP_GRANT_REF: u32 = command(1, 16);
const GET_OFFSET_FOR_VADDR: u32 = command(2, 24);
const SET_UNMAP_NOTIFY: u32 = command(7, 16);
const GRANT_COPY: u32 = command(8, 16);
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
const DMABUF_EXP_FROM_REFS: u32 = command(9, 20);
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
const DMABUF_EXP_WAIT_RELEASED: u32 = command(10, 8);
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
const DMABUF_IMP_TO_REFS: u32 = command(11, 20);
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
const DMABUF_IMP_RELEASE: u32 = command(12, 8);
/// Ours: see `include/uapi/xen_rust/gntdev.h`.
const RESTRICT: u32 = command(64, 2);

/// `UNMAP_NOTIFY_CLEAR_BYTE`
const CLEAR_BYTE: u32 = 1 << 0;
/// `UNMAP_NOTIFY_SEND_EVENT`
const SEND_EVENT: u32 = 1 << 1;

impl GntdevFile {
    /// Its maps.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// `IOCTL_GNTDEV_MAP_GRANT_REF`: `{ u32 count, pad; u64 index; refs[] }`.
    fn map_grant_ref(this: ArcBorrow<'_, Self>, arg: usize) -> Result<isize> {
        CALLS.inc(Call::MapGrantRef);
        let head = UserSlice::new(UserPtr::from_addr(arg), 8);
        let [count, _] = head.reader().read::<[u32; 2]>()?;
        if count == 0 || count > LIMIT.get() {
            return Err(EINVAL);
        }
        let count = count as usize;
        let length = count.checked_mul(8).ok_or(EINVAL)?;
        let refs = arg.checked_add(16).ok_or(EFAULT)?;
        let mut reader = UserSlice::new(UserPtr::from_addr(refs), length).reader();
        let grants = Grants::read(&mut reader, count, &this.restriction)?;

        let place = Place::take(this, count, FILE_LIMIT.get() as usize)?;
        let index = place.start() << PAGE_SHIFT;
        let map = Map::new(place, grants)?;
        // Nobody can find the map before its owner is told where it is.
        let out = arg.checked_add(8).ok_or(EFAULT)?;
        UserSlice::new(UserPtr::from_addr(out), 8)
            .writer()
            .write(&index)?;
        this.table.publish(map);
        Ok(0)
    }

    /// `IOCTL_GNTDEV_UNMAP_GRANT_REF`: `{ u64 index; u32 count, pad }`.
    fn unmap_grant_ref(&self, arg: usize) -> Result<isize> {
        CALLS.inc(Call::UnmapGrantRef);
        let mut reader = UserSlice::new(UserPtr::from_addr(arg), 16).reader();
        let index = reader.read::<u64>()?;
        let [count, _] = reader.read::<[u32; 2]>()?;
        self.table
            .remove(index >> PAGE_SHIFT, count as usize)
            .map(|_| 0)
            .ok_or(ENOENT)
    }

    /// `IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR`: `{ u64 vaddr; u64 offset; u32 count, pad }`.
    fn get_offset_for_vaddr(&self, arg: usize) -> Result<isize> {
        CALLS.inc(Call::GetOffsetForVaddr);
        let (mut reader, mut writer) = UserSlice::new(UserPtr::from_addr(arg), 24).reader_writer();
        let address = usize::try_from(reader.read::<u64>()?).map_err(|_| EINVAL)?;

        let (index, count) = {
            let current = kernel::current!();
            let mm = current.mm().ok_or(EINVAL)?;
            let guard = mm.mmap_read_lock();
            let vma = guard.vma_lookup(address).ok_or(EINVAL)?;
            let mapping = MAPPINGS.state(vma).ok_or(EINVAL)?;
            let map = mapping.map();
            if !map.is_of(self) {
                return Err(EINVAL);
            }
            (map.index(), map.count())
        };
        writer.write(&(address as u64))?;
        writer.write(&(index << PAGE_SHIFT))?;
        writer.write(&(count as u32))?;
        Ok(0)
    }

    /// `IOCTL_GNTDEV_SET_UNMAP_NOTIFY`: `{ u64 index; u32 action, event_channel_port }`.
    fn set_unmap_notify(&self, arg: usize) -> Result<isize> {
        CALLS.inc(Call::SetUnmapNotify);
        let mut reader = UserSlice::new(UserPtr::from_addr(arg), 16).reader();
        let index = reader.read::<u64>()?;
        let [action, port] = reader.read::<[u32; 2]>()?;
        if action & !(CLEAR_BYTE | SEND_EVENT) != 0 {
            return Err(EINVAL);
        }
        let port = if action & SEND_EVENT != 0 {
            Some(self.port(Port::new(port))?)
        } else {
            None
        };
        let map = self.table.find(index >> PAGE_SHIFT).ok_or(ENOENT)?;
        let mark = Mark {
            // The map's offsets are those of its pages.
            index: ((index >> PAGE_SHIFT) - map.index()) as usize,
            clear: (action & CLEAR_BYTE != 0).then_some(index as usize % PAGE_SIZE),
        };
        map.set_notify((action != 0).then(|| Notify::new(mark, port)))?;
        Ok(0)
    }

    /// A reference to `port`, to which a restricted file may send only if it is of its domain.
    fn port(&self, port: Port) -> Result<PortRef> {
        let reference = PortRef::get(port)?;
        if self.restriction.unrestricted().is_err() {
            match event::status(port)?.state {
                State::Interdomain(domain, _) | State::Unbound(domain) => {
                    self.restriction.check(domain).map_err(|_| EPERM)?;
                }
                _ => return Err(EPERM),
            }
        }
        Ok(reference)
    }

    /// `IOCTL_GNTDEV_GRANT_COPY`: `{ u32 count; segments * }`.
    fn grant_copy(&self, arg: usize) -> Result<isize> {
        CALLS.inc(Call::GrantCopy);
        let [count, segments] = UserSlice::new(UserPtr::from_addr(arg), 16)
            .reader()
            .read::<[u64; 2]>()?;
        // The other half is padding.
        let [a, b, c, d, ..] = count.to_ne_bytes();
        let count = u32::from_ne_bytes([a, b, c, d]) as usize;
        let segments = usize::try_from(segments).map_err(|_| EFAULT)?;

        if count == 1 && copy_single(segments, &self.restriction)? {
            return Ok(0);
        }
        let kept = self.copier.lock().take();
        let mut copier = match kept {
            Some(copier) => copier,
            None => KBox::new(Copier::new()?, GFP_KERNEL)?,
        };
        let result = copier.run(count, segments, &self.restriction);
        let old = self.copier.lock().replace(copier);
        drop(old);
        result.map(|()| 0)
    }

    /// `IOCTL_GNTDEV_RESTRICT`: `u16`.
    fn restrict(&self, arg: usize) -> Result<isize> {
        CALLS.inc(Call::Restrict);
        let domain = UserSlice::new(UserPtr::from_addr(arg), 2)
            .reader()
            .read::<u16>()?;
        let domain = DomId::new(domain);
        match self.restriction.narrow(domain) {
            Ok(()) => Ok(0),
            Err(NarrowError::Narrowed(only)) if only == domain => Ok(0),
            Err(_) => Err(EINVAL),
        }
    }
}

#[vtable]
impl FileOperations for GntdevFile {
    type Data = Arc<Self>;

    fn open(_file: &OpenFile<'_>) -> Result<Self::Data> {
        CALLS.inc(Call::Open);
        Arc::pin_init(
            pin_init!(Self {
                table <- Table::new(),
                restriction: Restriction::none(),
                copier <- new_mutex!(None, "gntdev::copier"),
                #[cfg(CONFIG_DMA_SHARED_BUFFER)]
                buffers <- super::dmabuf::Buffers::new(),
            }),
            GFP_KERNEL,
        )
    }

    fn release(data: Self::Data, _file: &File) {
        #[cfg(CONFIG_DMA_SHARED_BUFFER)]
        data.buffers.clear();
        data.table.clear();
    }

    fn ioctl(this: ArcBorrow<'_, Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            MAP_GRANT_REF => Self::map_grant_ref(this, arg),
            UNMAP_GRANT_REF => this.unmap_grant_ref(arg),
            GET_OFFSET_FOR_VADDR => this.get_offset_for_vaddr(arg),
            SET_UNMAP_NOTIFY => this.set_unmap_notify(arg),
            GRANT_COPY => this.grant_copy(arg),
            RESTRICT => this.restrict(arg),
            #[cfg(CONFIG_DMA_SHARED_BUFFER)]
            DMABUF_EXP_FROM_REFS => {
                CALLS.inc(Call::DmabufExport);
                this.buffers.export(this, &this.restriction, arg)
            }
            #[cfg(CONFIG_DMA_SHARED_BUFFER)]
            DMABUF_EXP_WAIT_RELEASED => {
                CALLS.inc(Call::DmabufWait);
                this.buffers.wait_released(arg)
            }
            #[cfg(CONFIG_DMA_SHARED_BUFFER)]
            DMABUF_IMP_TO_REFS => {
                CALLS.inc(Call::DmabufImport);
                this.buffers.import(&this.restriction, arg)
            }
            #[cfg(CONFIG_DMA_SHARED_BUFFER)]
            DMABUF_IMP_RELEASE => {
                CALLS.inc(Call::DmabufRelease);
                this.buffers.release(arg)
            }
            _ => {
                CALLS.inc(Call::Unknown);
                Err(ENOTTY)
            }
        }
    }

    fn mmap(this: ArcBorrow<'_, Self>, _file: &File, vma: &VmaNew) -> Result {
        CALLS.inc(Call::Mmap);
        let access = if vma.writable() {
            // A private copy of another domain's page would be somebody else's page.
            if vma.flags() & flags::SHARED == 0 {
                return Err(EINVAL);
            }
            Access::ReadWrite
        } else {
            // What Xen maps for reading cannot be made writable later.
            vma.try_clear_maywrite()?;
            Access::ReadOnly
        };
        let count = (vma.end() - vma.start()) >> PAGE_SHIFT;
        let map = this
            .table
            .find_exact(page_offset(vma) as u64, count)
            .ok_or(EINVAL)?;
        Mapping::establish(map, access, &this.restriction, vma)
    }

    fn may_place(_this: ArcBorrow<'_, Self>, page_offset: usize) -> Result {
        if refuses_move(page_offset) {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        let (mut maps, mut mapped, mut waiting) = (0usize, 0usize, 0usize);
        // Sorted. Without memory for it the list is left out.
        let mut domains = KVVec::<(DomId, usize)>::new();
        this.table.for_each(|map| {
            maps += 1;
            mapped += map.mapped();
            waiting += map.waiting();
            map.grants.by_domain(|domain, grants| {
                match domains.binary_search_by_key(&domain, |entry| entry.0) {
                    Ok(at) => {
                        if let Some(entry) = domains.get_mut(at) {
                            entry.1 += grants;
                        }
                    }
                    Err(at) => {
                        if domains.reserve(1, GFP_KERNEL).is_ok() {
                            let _ = domains.insert_within_capacity(at, (domain, grants));
                        }
                    }
                }
            });
        });
        seq_print!(m, "gntdev-maps:\t{maps}\n");
        seq_print!(m, "gntdev-grants:\t{}\n", this.table.grants());
        seq_print!(m, "gntdev-mapped:\t{mapped}\n");
        seq_print!(m, "gntdev-waiting:\t{waiting}\n");
        for (domain, grants) in &domains {
            seq_print!(m, "gntdev-domain-{}:\t{grants}\n", domain.raw());
        }
        if let Some(only) = this.restriction.domain() {
            seq_print!(m, "gntdev-restricted:\t{}\n", only.raw());
        }
    }
}
