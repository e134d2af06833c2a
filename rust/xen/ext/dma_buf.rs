// SPDX-License-Identifier: GPL-2.0

//! Buffers that devices share.
//!
//! Everything here is generic, so that only modules that use it need the kernel's `DMA_BUF`
//! namespace, which they import by `imports_ns: ["DMA_BUF"]`.
//!
//! C header: `include/linux/dma-buf.h`; `Documentation/driver-api/dma-buf.rst`.

use super::{
    pages::PageStruct,
    version::{
        DMA_BIDIRECTIONAL,
        DMA_NONE, //
    },
};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    },
};
use kernel::{
    device::Device,
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    fs::{
        file::FileDescriptorReservation,
        File, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::aref::ARef,
    types::ForeignOwnable, //
};

/// A device of the module that maps buffers for DMA.
///
/// # Invariants
///
/// `raw` is the device that `_device` refers to.
#[derive(Clone)]
pub struct DmaDevice {
    raw: *mut bindings::device,
    _device: ARef<Device>,
}

// SAFETY: A reference to a device is not tied to a thread.
unsafe impl Send for DmaDevice {}
// SAFETY: The pointer only goes to functions that may be called by anybody.
unsafe impl Sync for DmaDevice {}

impl DmaDevice {
    /// Makes a device, which is no hardware, reach all memory.
    ///
    /// # Safety
    ///
    /// `raw` is a valid device, which nobody uses for DMA yet.
    pub(crate) unsafe fn new(raw: *mut bindings::device) -> Self {
        // SAFETY: By the function's contract.
        unsafe { bindings::xen_rust_dma_reach_all(raw) };
        // INVARIANT: It is the same.
        Self {
            raw,
            // SAFETY: By the function's contract.
            _device: unsafe { Device::get_device(raw) },
        }
    }

    // Only kernels with such memory want it.
    #[allow(dead_code)]
    pub(crate) fn as_raw(&self) -> *mut bindings::device {
        self.raw
    }
}

/// A number of pages.
///
/// # Safety
///
/// `pages()` must give an array of `count()` valid pages, which stay valid, and the array
/// unchanged, as long as the value exists. There must be at least one.
pub unsafe trait PageSource {
    /// How many pages there are.
    fn count(&self) -> usize;
    /// The first of them.
    fn pages(&self) -> *const *mut PageStruct;
}

/// What is exported as a buffer. Dropped when nobody uses the buffer any more.
pub trait Exporter: Send + Sync + 'static {
    /// What has the pages.
    type Pages: PageSource;
    /// The pages.
    fn pages(&self) -> &Self::Pages;
}

/// A buffer that was made by this module, and that no file descriptor refers to yet.
///
/// # Invariants
///
/// Owns a reference to the buffer.
pub struct ExportedBuffer<T: Exporter>(NonNull<bindings::dma_buf>, PhantomData<T>);

/// What an importer's attachment to a buffer of ours has.
struct Attachment {
    /// Mapped for DMA in `direction`, unless that is none.
    table: bindings::sg_table,
    direction: bindings::dma_data_direction,
}

/// The pages are coherent: importers look after caches themselves, as in C.
const ATTRIBUTES: c_ulong = bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong;

impl<T: Exporter> ExportedBuffer<T> {
    const OPERATIONS: &'static bindings::dma_buf_ops = &bindings::dma_buf_ops {
        attach: Some(Self::attach),
        detach: Some(Self::detach),
        map_dma_buf: Some(Self::map),
        unmap_dma_buf: Some(Self::unmap),
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    /// Makes a buffer of the exporter's pages. `name` is seen in debugfs.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &'static CStr, exporter: KBox<T>) -> Result<Self> {
        let size = exporter
            .pages()
            .count()
            .checked_mul(PAGE_SIZE)
            .ok_or(ENOMEM)?;
        let private = exporter.into_foreign();
        let info = bindings::dma_buf_export_info {
            exp_name: name.as_char_ptr(),
            owner: super::this_module(),
            ops: Self::OPERATIONS,
            size,
            flags: bindings::O_RDWR as c_int,
            resv: null_mut(),
            priv_: private,
        };
        // SAFETY: The structure is complete.
        match from_err_ptr(unsafe { bindings::dma_buf_export(&info) }) {
            // INVARIANT: The reference is ours.
            Ok(buffer) => Ok(Self(NonNull::new(buffer).ok_or(ENOMEM)?, PhantomData)),
            Err(e) => {
                // SAFETY: It was made by `into_foreign` above, and nobody took it over.
                drop(unsafe { KBox::<T>::from_foreign(private) });
                Err(e)
            }
        }
    }

    /// Lets a file descriptor refer to the buffer, for as long as it is open.
    pub fn install(self, fd: FileDescriptorReservation) {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: By the type invariant the buffer is valid.
        let file = unsafe { (*this.0.as_ptr()).file };
        if let Some(file) = NonNull::new(file.cast::<File>()) {
            // SAFETY: A reference to a buffer is one to its file, and it is given away here.
            fd.fd_install(unsafe { ARef::from_raw(file) });
        }
    }

    /// # Safety
    ///
    /// `buffer` was made by `new`, and is not released during `'a`.
    unsafe fn exporter<'a>(buffer: *mut bindings::dma_buf) -> &'a T {
        // SAFETY: By the function's contract.
        let private = unsafe { (*buffer).priv_ };
        // SAFETY: `new` made it by `into_foreign`, and `release` takes it back.
        unsafe { KBox::<T>::borrow(private) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `attach`.
    unsafe extern "C" fn attach(
        _buffer: *mut bindings::dma_buf,
        attach: *mut bindings::dma_buf_attachment,
    ) -> c_int {
        let attachment = Attachment {
            table: bindings::sg_table::default(),
            direction: DMA_NONE,
        };
        match KBox::new(attachment, GFP_KERNEL) {
            Ok(attachment) => {
                // SAFETY: The attachment is being set up, and the field is the exporter's.
                unsafe { (*attach).priv_ = attachment.into_foreign() };
                0
            }
            Err(_) => ENOMEM.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `detach`.
    unsafe extern "C" fn detach(
        _buffer: *mut bindings::dma_buf,
        attach: *mut bindings::dma_buf_attachment,
    ) {
        // SAFETY: The attachment is valid.
        let (private, device) = unsafe { ((*attach).priv_, (*attach).dev) };
        // SAFETY: `attach` made it by `into_foreign`; each attachment is detached once.
        let mut attachment = unsafe { KBox::<Attachment>::from_foreign(private) };
        if attachment.direction != DMA_NONE {
            // SAFETY: The table is mapped for this device.
            unsafe {
                bindings::dma_unmap_sg_attrs(
                    device,
                    attachment.table.sgl,
                    attachment.table.orig_nents as c_int,
                    attachment.direction,
                    ATTRIBUTES,
                )
            };
            // SAFETY: The table was allocated, and nobody uses it any more.
            unsafe { bindings::sg_free_table(&mut attachment.table) };
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `map_dma_buf`.
    unsafe extern "C" fn map(
        attach: *mut bindings::dma_buf_attachment,
        direction: bindings::dma_data_direction,
    ) -> *mut bindings::sg_table {
        // SAFETY: The attachment is valid, and its private data is `attach`'s. The buffer's
        // reservation lock is held, so that nobody else uses it.
        let attachment = unsafe { &mut *(*attach).priv_.cast::<Attachment>() };
        // SAFETY: The attachment is to one of our buffers.
        let exporter = unsafe { Self::exporter((*attach).dmabuf) };
        // SAFETY: The attachment is valid.
        let device = unsafe { (*attach).dev };

        match Self::map_attachment(attachment, exporter, device, direction) {
            Ok(()) => &mut attachment.table,
            Err(e) => e.to_ptr(),
        }
    }

    fn map_attachment(
        attachment: &mut Attachment,
        exporter: &T,
        device: *mut bindings::device,
        direction: bindings::dma_data_direction,
    ) -> Result {
        if direction == DMA_NONE {
            return Err(EINVAL);
        }
        // It stays mapped until it is detached.
        if attachment.direction == direction {
            return Ok(());
        }
        if attachment.direction != DMA_NONE {
            return Err(EBUSY);
        }
        let pages = exporter.pages();
        let count = c_uint::try_from(pages.count()).map_err(|_| ENOMEM)?;
        // SAFETY: The source promises that there are so many pages; the function only reads them.
        to_result(unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                &mut attachment.table,
                pages.pages().cast_mut(),
                count,
                0,
                (count as c_ulong) << PAGE_SHIFT,
                c_uint::MAX,
                bindings::GFP_KERNEL,
            )
        })?;
        // SAFETY: The table is complete, and the device is attached.
        let mapped = to_result(unsafe {
            bindings::dma_map_sgtable(device, &mut attachment.table, direction, ATTRIBUTES)
        });
        if mapped.is_err() {
            // SAFETY: The table was allocated above.
            unsafe { bindings::sg_free_table(&mut attachment.table) };
            return Err(ENOMEM);
        }
        attachment.direction = direction;
        Ok(())
    }

    /// # Safety
    ///
    /// None.
    unsafe extern "C" fn unmap(
        _attach: *mut bindings::dma_buf_attachment,
        _table: *mut bindings::sg_table,
        _direction: bindings::dma_data_direction,
    ) {
        // It stays mapped until it is detached.
    }

    /// # Safety
    ///
    /// The kernel's contract for `release`.
    unsafe extern "C" fn release(buffer: *mut bindings::dma_buf) {
        // SAFETY: The buffer is valid.
        let private = unsafe { (*buffer).priv_ };
        // SAFETY: `new` made it by `into_foreign`; each buffer is released once.
        drop(unsafe { KBox::<T>::from_foreign(private) });
    }
}

impl<T: Exporter> Drop for ExportedBuffer<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::dma_buf_put(self.0.as_ptr()) };
    }
}

/// Somebody else's buffer, mapped for DMA by a device of ours.
///
/// `M` has no meaning: it makes the module that uses this import what it needs.
///
/// # Invariants
///
/// Owns a reference to `buffer`; `attachment` is one of `device` to it, and `table` is its mapping.
pub struct ImportedBuffer<M> {
    buffer: NonNull<bindings::dma_buf>,
    attachment: NonNull<bindings::dma_buf_attachment>,
    table: NonNull<bindings::sg_table>,
    device: DmaDevice,
    _module: PhantomData<fn(M)>,
}

// SAFETY: What it owns is not tied to a thread.
unsafe impl<M> Send for ImportedBuffer<M> {}
// SAFETY: Through a shared reference the table is only read, and nobody changes it.
unsafe impl<M> Sync for ImportedBuffer<M> {}

impl<M> ImportedBuffer<M> {
    /// Maps the buffer that the file descriptor `fd` of the current process refers to, which must
    /// have `count` pages.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EBADF` for no open file, `EINVAL` for one that is no buffer or has another size, and
    /// whatever the exporter says.
    pub fn new(fd: u32, count: usize, device: &DmaDevice) -> Result<Self> {
        let fd = c_int::try_from(fd).map_err(|_| EBADF)?;
        // SAFETY: Any number may be asked for.
        let buffer = from_err_ptr(unsafe { bindings::dma_buf_get(fd) })?;
        let result = Self::attach(buffer, count, device);
        if result.is_err() {
            // SAFETY: The reference was taken above.
            unsafe { bindings::dma_buf_put(buffer) };
        }
        result
    }

    fn attach(buffer: *mut bindings::dma_buf, count: usize, device: &DmaDevice) -> Result<Self> {
        // SAFETY: The buffer is valid.
        if Some(unsafe { (*buffer).size }) != count.checked_mul(PAGE_SIZE) {
            return Err(EINVAL);
        }
        // SAFETY: Both are valid.
        let attachment = from_err_ptr(unsafe { bindings::dma_buf_attach(buffer, device.raw) })?;
        let mapped = from_err_ptr(
            // SAFETY: The attachment is valid.
            unsafe { bindings::dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL) },
        )
        .and_then(|table| NonNull::new(table).ok_or(EINVAL));
        match (
            mapped,
            NonNull::new(buffer),
            NonNull::new(attachment), //
        ) {
            // INVARIANT: As has been done.
            (Ok(table), Some(buffer), Some(attachment)) => Ok(Self {
                buffer,
                attachment,
                table,
                device: device.clone(),
                _module: PhantomData,
            }),
            (Err(e), ..) => {
                // SAFETY: It was attached above.
                unsafe { bindings::dma_buf_detach(buffer, attachment) };
                Err(e)
            }
            _ => Err(EINVAL),
        }
    }

    /// Calls `each` with the physical address of each page, as the device sees it, in order, until
    /// it fails.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the buffer does not begin and end with a page or has less than `count`, and
    /// what `each` says.
    pub fn for_each_page(
        &self,
        count: usize,
        mut each: impl FnMut(usize, u64) -> Result,
    ) -> Result {
        let mut done = 0;
        // SAFETY: By the type invariant the table is valid.
        let (mut entry, entries) =
            unsafe { ((*self.table.as_ptr()).sgl, (*self.table.as_ptr()).nents) };
        for _ in 0..entries {
            if entry.is_null() {
                break;
            }
            // SAFETY: The table has so many entries that are mapped.
            let (address, length) = unsafe {
                (
                    bindings::sg_dma_address(entry),
                    bindings::sg_dma_len(entry) as usize,
                )
            };
            // SAFETY: The device is valid.
            let address = unsafe { bindings::xen_rust_dma_to_phys(self.device.raw, address) };
            if address % PAGE_SIZE as u64 != 0 || length % PAGE_SIZE != 0 {
                return Err(EINVAL);
            }
            for page in 0..length >> PAGE_SHIFT {
                if done == count {
                    return Ok(());
                }
                let offset = (page << PAGE_SHIFT) as u64;
                each(done, address.checked_add(offset).ok_or(EINVAL)?)?;
                done += 1;
            }
            // SAFETY: The entry is one of the table's.
            entry = unsafe { bindings::sg_next(entry) };
        }
        if done < count {
            return Err(EINVAL);
        }
        Ok(())
    }
}

impl<M> Drop for ImportedBuffer<M> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; this ends the mapping.
        unsafe {
            bindings::dma_buf_unmap_attachment_unlocked(
                self.attachment.as_ptr(),
                self.table.as_ptr(),
                DMA_BIDIRECTIONAL,
            )
        };
        // SAFETY: By the type invariant; nothing is mapped through it any more.
        unsafe { bindings::dma_buf_detach(self.buffer.as_ptr(), self.attachment.as_ptr()) };
        // SAFETY: By the type invariant the reference is ours.
        unsafe { bindings::dma_buf_put(self.buffer.as_ptr()) };
    }
}
