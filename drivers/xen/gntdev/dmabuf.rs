// SPDX-License-Identifier: GPL-2.0

//! dma-bufs of grants, and grants of dma-bufs.
//!
//! An exported buffer has grants of another domain mapped for the kernel, in a translated domain
//! only. It owns what it needs: the file that it was made by may be closed before it.
//!
//! An imported buffer is one of any driver's, whose pages are granted to another domain. It is
//! held until that domain uses none of them any more, also after it was released.
//!
//! The numbers by which user space names buffers are those of the file descriptors at that time.

use super::{
    file::GntdevFile,
    map::{
        Grants,
        Map, //
    },
    mapping::Mapping,
    table::Place,
    FILE_LIMIT, LIMIT, QUEUE,
};
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::{
    fs::file::{
        flags::O_CLOEXEC,
        FileDescriptorReservation, //
    },
    prelude::*,
    sync::{
        new_condvar,
        new_mutex,
        Arc,
        ArcBorrow,
        CondVar,
        CondVarTimeoutResult,
        Mutex, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    workqueue::{
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
};
use xen::{
    domain,
    domid::DomId,
    ext::{
        dma_buf::{
            DmaDevice,
            ExportedBuffer,
            Exporter,
            ImportedBuffer, //
        },
        global::Global,
        module::ModuleRef, //
    },
    grant::{
        give::GivenFrames,
        GrantPages, //
    },
    restriction::Restriction,
    unpopulated::UnpopulatedPages, //
};

/// The device that maps imported buffers.
pub(crate) static DEVICE: Global<DmaDevice> = Global::new();

/// `GNTDEV_DMA_FLAG_WC`
const DMA_WC: u32 = 1 << 0;
/// `GNTDEV_DMA_FLAG_COHERENT`
const DMA_COHERENT: u32 = 1 << 1;

/// Between tries to end grants that the other domain still uses, in milliseconds.
const RETRY_MS: u32 = 100;

/// The buffers of an open file. Most files never have one, and no memory for them.
#[pin_data]
pub(crate) struct Buffers {
    #[pin]
    made: Mutex<Option<Arc<Lists>>>,
}

/// The buffers of a file that has some.
#[pin_data]
struct Lists {
    /// What it has exported and is still in use: file descriptor and identity.
    #[pin]
    exports: Mutex<KVVec<(u32, u64)>>,
    /// One of them went.
    #[pin]
    gone: CondVar,
    /// The identity of the next.
    next: AtomicU64,
    /// What it has imported.
    #[pin]
    imports: Mutex<KVVec<(u32, Arc<Import>)>>,
}

/// An exported buffer.
struct Export {
    mapping: Arc<Mapping>,
    lists: Arc<Lists>,
    id: u64,
}

impl Exporter for Export {
    type Pages = GrantPages;

    fn pages(&self) -> &GrantPages {
        self.mapping.pages()
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.mapping.as_arc_borrow().end();
        let mut exports = self.lists.exports.lock();
        exports.retain(|entry| entry.1 != self.id);
        self.lists.gone.notify_all();
    }
}

/// An imported buffer.
#[pin_data]
struct Import {
    buffer: ImportedBuffer<Self>,
    #[pin]
    state: Mutex<Given>,
    #[pin]
    work: DelayedWork<Import>,
}

/// The grants of an imported buffer.
struct Given {
    frames: GivenFrames,
    /// There is one exactly while the work is queued.
    keep: Option<ModuleRef>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Import { self.work }
}

impl Import {
    /// Ends the grants, those that the other domain still uses later.
    fn end(self: Arc<Self>) {
        let mut state = self.state.lock();
        if state.frames.end() != 0 && state.keep.is_none() {
            state.keep = Some(ModuleRef::get());
            QUEUE.enqueue_delayed(self.clone(), msecs_to_jiffies(RETRY_MS));
        }
    }
}

impl WorkItem for Import {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut state = this.state.lock();
        if state.frames.end() != 0 {
            QUEUE.enqueue_delayed(this.clone(), msecs_to_jiffies(RETRY_MS));
            return;
        }
        let keep = state.keep.take();
        drop(state);
        // The buffer goes before the module may.
        drop(this);
        drop(keep);
    }
}

/// Whether a number of pages may be asked for at once.
fn check_count(count: u32) -> Result<usize> {
    if count == 0 || count > LIMIT.get() {
        return Err(EINVAL);
    }
    Ok(count as usize)
}

/// Pages for a buffer of grants. Where the kernel has no memory of the kind that `flags` ask for,
/// they are ignored, as they are in C.
fn pages(count: usize, flags: u32) -> Result<UnpopulatedPages> {
    #[cfg(CONFIG_XEN_GRANT_DMA_ALLOC)]
    if flags & (DMA_WC | DMA_COHERENT) != 0 {
        let device = DEVICE.get().ok_or(ENODEV)?;
        return UnpopulatedPages::alloc_for_dma(count, &device, flags & DMA_COHERENT != 0);
    }
    let _ = flags;
    UnpopulatedPages::alloc_for_grants(count)
}

impl Buffers {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            made <- new_mutex!(None, "gntdev::Buffers"),
        })
    }

    /// The lists, if there has been a buffer.
    fn lists(&self) -> Option<Arc<Lists>> {
        self.made.lock().clone()
    }

    /// The lists, for a buffer to be added.
    fn make_lists(&self) -> Result<Arc<Lists>> {
        let mut made = self.made.lock();
        if let Some(lists) = &*made {
            return Ok(lists.clone());
        }
        let lists = Arc::pin_init(
            pin_init!(Lists {
                exports <- new_mutex!(KVVec::new(), "gntdev::Lists::exports"),
                gone <- new_condvar!("gntdev::Lists::gone"),
                next: AtomicU64::new(0),
                imports <- new_mutex!(KVVec::new(), "gntdev::Lists::imports"),
            }),
            GFP_KERNEL,
        )?;
        *made = Some(lists.clone());
        Ok(lists)
    }

    /// `IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS`: `{ u32 flags, count, fd, domid, refs[] }`.
    ///
    /// # Errors
    ///
    /// `EINVAL` in a PV domain, for a number of pages beyond the limit, for contradictory flags,
    /// and when Xen refuses a grant; `EPERM`, `EFAULT`, `EMFILE`, `ENOMEM`.
    pub(crate) fn export(
        &self,
        file: ArcBorrow<'_, GntdevFile>,
        restriction: &Restriction,
        arg: usize,
    ) -> Result<isize> {
        if domain::is_pv() {
            return Err(EINVAL);
        }
        let [flags, count, _, domid] = UserSlice::new(UserPtr::from_addr(arg), 16)
            .reader()
            .read::<[u32; 4]>()?;
        let count = check_count(count)?;
        if flags & (DMA_WC | DMA_COHERENT) == DMA_WC | DMA_COHERENT {
            return Err(EINVAL);
        }
        let domain = DomId::from_wide(domid).ok_or(EINVAL)?;
        restriction.check(domain).map_err(|_| EPERM)?;
        let refs = arg.checked_add(16).ok_or(EFAULT)?;
        let mut reader = UserSlice::new(UserPtr::from_addr(refs), count * 4).reader();
        let grants = Grants::read_of(domain, &mut reader, count)?;

        let lists = self.make_lists()?;
        let map = Map::new(Place::take(file, count, FILE_LIMIT.get() as usize)?, grants)?;
        let mapping = Mapping::establish_for_kernel(map, pages(count, flags)?, restriction)?;
        // From here on it goes with the buffer, or with what was to become one.
        let export = KBox::new(
            Export {
                mapping,
                lists: lists.clone(),
                id: lists.next.fetch_add(1, Ordering::Relaxed),
            },
            GFP_KERNEL,
        )?;
        let id = export.id;
        let buffer = ExportedBuffer::new(c"xen_gntdev", export)?;

        let fd = FileDescriptorReservation::get_unused_fd_flags(O_CLOEXEC)?;
        let number = fd.reserved_fd();
        lists.exports.lock().push((number, id), GFP_KERNEL)?;
        let out = arg.checked_add(8).ok_or(EFAULT)?;
        UserSlice::new(UserPtr::from_addr(out), 4)
            .writer()
            .write(&number)?;
        buffer.install(fd);
        Ok(0)
    }

    /// `IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED`: `{ u32 fd, wait_to_ms }`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such buffer (any more), `ETIMEDOUT`, `EINTR`, `EFAULT`.
    pub(crate) fn wait_released(&self, arg: usize) -> Result<isize> {
        let [fd, wait_to_ms] = UserSlice::new(UserPtr::from_addr(arg), 8)
            .reader()
            .read::<[u32; 2]>()?;
        let lists = self.lists().ok_or(ENOENT)?;
        let mut exports = lists.exports.lock();
        // The youngest of them, if a number was used again.
        let id = exports
            .iter()
            .rev()
            .find(|entry| entry.0 == fd)
            .ok_or(ENOENT)?
            .1;
        let mut left: Jiffies = msecs_to_jiffies(wait_to_ms);
        while exports.iter().any(|entry| entry.1 == id) {
            if left == 0 {
                return Err(ETIMEDOUT);
            }
            left = match lists.gone.wait_interruptible_timeout(&mut exports, left) {
                CondVarTimeoutResult::Woken { jiffies } => jiffies,
                CondVarTimeoutResult::Timeout => 0,
                CondVarTimeoutResult::Signal { .. } => return Err(EINTR),
            };
        }
        Ok(0)
    }

    /// `IOCTL_GNTDEV_DMABUF_IMP_TO_REFS`: `{ u32 fd, count, domid, reserved, refs[] }`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number of pages that the buffer does not have or beyond the limit, or for
    /// what is no buffer; `EBADF`, `EPERM`, `EFAULT`, `ENOSPC`, `ENOMEM`, and what the buffer's
    /// exporter says.
    pub(crate) fn import(&self, restriction: &Restriction, arg: usize) -> Result<isize> {
        let [fd, count, domid, _] = UserSlice::new(UserPtr::from_addr(arg), 16)
            .reader()
            .read::<[u32; 4]>()?;
        let count = check_count(count)?;
        let domain = DomId::from_wide(domid).ok_or(EINVAL)?;
        let right = restriction.check(domain).map_err(|_| EPERM)?;
        let device = DEVICE.get().ok_or(ENODEV)?;

        let lists = self.make_lists()?;
        let buffer = ImportedBuffer::new(fd, count, &device)?;
        let import = Arc::pin_init(
            pin_init!(Import {
                buffer,
                state <- new_mutex!(
                    Given {
                        frames: GivenFrames::with_capacity(count)?,
                        keep: None,
                    },
                    "gntdev::Import"
                ),
                work <- new_delayed_work!("gntdev::Import::work"),
            }? Error),
            GFP_KERNEL,
        )?;
        let result = import
            .give(count, |frames, address| frames.give(right, address))
            .and_then(|()| import.write_refs(arg))
            .and_then(|()| {
                Ok(lists
                    .imports
                    .lock()
                    .push((fd, import.clone()), GFP_KERNEL)?)
            });
        if result.is_err() {
            import.end();
        }
        result.map(|()| 0)
    }

    /// `IOCTL_GNTDEV_DMABUF_IMP_RELEASE`: `{ u32 fd, reserved }`.
    ///
    /// # Errors
    ///
    /// `ENOENT` when there is no such buffer, `EFAULT`.
    pub(crate) fn release(&self, arg: usize) -> Result<isize> {
        let [fd, _] = UserSlice::new(UserPtr::from_addr(arg), 8)
            .reader()
            .read::<[u32; 2]>()?;
        let lists = self.lists().ok_or(ENOENT)?;
        let mut imports = lists.imports.lock();
        let at = imports
            .iter()
            .rposition(|entry| entry.0 == fd)
            .ok_or(ENOENT)?;
        let (_, import) = imports.remove(at).map_err(|_| ENOENT)?;
        drop(imports);
        import.end();
        Ok(0)
    }

    /// The file goes.
    pub(crate) fn clear(&self) {
        let Some(lists) = self.lists() else {
            return;
        };
        let imports = core::mem::replace(&mut *lists.imports.lock(), KVVec::new());
        for (_, import) in imports {
            import.end();
        }
    }
}

impl Import {
    /// Grants each page of the buffer.
    fn give(&self, count: usize, mut each: impl FnMut(&mut GivenFrames, u64) -> Result) -> Result {
        let mut state = self.state.lock();
        self.buffer
            .for_each_page(count, |_, address| each(&mut state.frames, address))
    }

    /// Tells user space the references.
    fn write_refs(&self, arg: usize) -> Result {
        let mut at = arg.checked_add(16).ok_or(EFAULT)?;
        let state = self.state.lock();
        for reference in state.frames.refs() {
            UserSlice::new(UserPtr::from_addr(at), 4)
                .writer()
                .write(&reference.raw())?;
            at = at.checked_add(4).ok_or(EFAULT)?;
        }
        Ok(())
    }
}
