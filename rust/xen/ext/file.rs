// SPDX-License-Identifier: GPL-2.0

//! File operations: a trait for the driver, a `struct file_operations` for the kernel.
//!
//! The kernel crate's `MiscDevice` has no poll and no fasync, and wants a `struct miscdevice` in
//! the private data at open. Here open asks for nothing, so that one set of operations can serve
//! a device node and a file of another file system.
//!
//! C header: `include/linux/fs.h`.

use super::transfer::{
    Destination,
    Source,
    UserBuffer, //
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    ffi::{
        c_char,
        c_int,
        c_long,
        c_uint,
        c_ulong, //
    },
    fs::File,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    sync::poll::PollTable,
    types::ForeignOwnable, //
};

/// What poll reports: `EPOLLIN` and its like.
///
/// C header: `include/uapi/linux/eventpoll.h`.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct PollEvents(u32);

impl PollEvents {
    /// Readable.
    pub const IN: Self = Self(bindings::POLLIN | bindings::POLLRDNORM);
    /// Writable.
    pub const OUT: Self = Self(bindings::POLLOUT | bindings::POLLWRNORM);
    /// In error.
    pub const ERR: Self = Self(bindings::POLLERR);

    pub(crate) const fn raw(self) -> u32 {
        self.0
    }
}

impl core::ops::BitOr for PollEvents {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a driver does with its open files.
///
/// `Data` is made by `open`, shared by all operations, and handed back to `release` after the last
/// of them. An operation that is left out is answered by the kernel as usual for a file without
/// it: `EINVAL` for read and write, `ENOTTY` for ioctl, `ENODEV` for mmap.
///
/// All operations may sleep.
#[vtable]
pub trait FileOperations: Sized + 'static {
    /// What belongs to an open file.
    type Data: ForeignOwnable + Send + Sync;

    /// Opens a file.
    fn open(file: &OpenFile<'_>) -> Result<Self::Data>;

    /// The last reference to the file is gone.
    fn release(data: Self::Data, _file: &File) {
        drop(data);
    }

    /// Reads at the file's end of the stream.
    ///
    /// `nonblocking` is set by `O_NONBLOCK` and by callers that ask for it once (`RWF_NOWAIT`,
    /// io_uring).
    fn read(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _nonblocking: bool,
        _into: &mut impl Destination,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes.
    fn write(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _nonblocking: bool,
        _from: &mut impl Source,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Runs command `cmd`; `arg` is as the caller gave it.
    ///
    /// 32-bit callers of a 64-bit kernel never get here: their structures differ, and they are
    /// told `ENOTTY`.
    fn ioctl(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets up a new mapping.
    ///
    /// Runs with the mmap lock of the current process held for writing.
    fn mmap(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _vma: &VmaNew,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Looks at a search for free address space, and may refuse it.
    ///
    /// The kernel searches, with the page offset that the mapping has or is to have, before mmap
    /// and before mremap moves a mapping: when it has not touched anything yet.
    ///
    /// Runs with the mmap lock of the current process held for writing.
    fn may_place(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _page_offset: usize,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Registers with `table` whatever wakes the file, then tells what the file is ready for.
    fn poll(
        _data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _file: &File,
        _table: &PollTable<'_>,
    ) -> PollEvents {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The list of those who want `SIGIO` from this file.
    ///
    /// The kernel changes the list; the driver signals through it.
    fn fasync<'a>(
        _data: &'a <Self::Data as ForeignOwnable>::Borrowed<'_>,
    ) -> &'a super::fasync::FasyncList {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the driver's part of `/proc/<pid>/fdinfo/<fd>`: lines of `name:\tvalue`.
    fn show_fdinfo(_data: <Self::Data as ForeignOwnable>::Borrowed<'_>, _m: &SeqFile) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A file that is being opened.
pub struct OpenFile<'a> {
    inode: *mut bindings::inode,
    file: *mut bindings::file,
    _life: PhantomData<&'a ()>,
}

impl OpenFile<'_> {
    /// Makes the file a stream: it has no position, and lseek, pread and pwrite say `ESPIPE`.
    pub fn make_stream(&self) {
        // SAFETY: Both are valid, and the file is still being opened. Always returns 0.
        unsafe { bindings::stream_open(self.inode, self.file) };
    }

    /// Promises that read and write honour `nonblocking`, so that io_uring need not give each
    /// request a thread.
    pub fn allow_nowait(&self) {
        // SAFETY: The file is still being opened: nobody else looks at its mode.
        unsafe { (*self.file).f_mode |= bindings::FMODE_NOWAIT };
    }
}

/// A `struct file_operations` that serves one [`FileOperations`].
#[repr(transparent)]
pub struct FileTable(bindings::file_operations);

// SAFETY: The kernel only reads it.
unsafe impl Sync for FileTable {}

impl FileTable {
    /// The table for `T`. Its owner is the module this code is linked into.
    pub const fn new<T: FileOperations>() -> Self {
        Self(Adapter::<T>::TABLE)
    }

    /// A table that another part of the library has filled.
    pub(super) const fn from_raw(table: bindings::file_operations) -> Self {
        Self(table)
    }

    pub(crate) const fn as_raw(&self) -> *const bindings::file_operations {
        &self.0
    }
}

/// Defines a `static` [`FileTable`] that other modules find under its own name.
///
/// The C side still has to say `EXPORT_SYMBOL_GPL()`, which has no Rust form.
#[macro_export]
macro_rules! exported_file_table {
    ($(#[$attr:meta])* $vis:vis static $name:ident: $ops:ty;) => {
        $(#[$attr])*
        #[allow(non_upper_case_globals)]
        #[no_mangle]
        $vis static $name: $crate::ext::file::FileTable =
            $crate::ext::file::FileTable::new::<$ops>();
    };
}

/// The C functions behind a [`FileTable`].
struct Adapter<T: FileOperations>(PhantomData<T>);

impl<T: FileOperations> Adapter<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: super::this_module(),
        open: Some(Self::open),
        release: Some(Self::release),
        // The kernel prefers these for a single buffer, which saves it the making of an iterator.
        read: if T::HAS_READ { Some(Self::read) } else { None },
        write: if T::HAS_WRITE {
            Some(Self::write)
        } else {
            None
        },
        read_iter: if T::HAS_READ {
            Some(Self::read_iter)
        } else {
            None
        },
        write_iter: if T::HAS_WRITE {
            Some(Self::write_iter)
        } else {
            None
        },
        unlocked_ioctl: if T::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        mmap: if T::HAS_MMAP { Some(Self::mmap) } else { None },
        get_unmapped_area: if T::HAS_MAY_PLACE {
            Some(Self::get_unmapped_area)
        } else {
            None
        },
        poll: if T::HAS_POLL { Some(Self::poll) } else { None },
        fasync: if T::HAS_FASYNC {
            Some(Self::fasync)
        } else {
            None
        },
        show_fdinfo: if T::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `file` is open with these operations, and not yet released.
    unsafe fn data<'a>(file: *mut bindings::file) -> <T::Data as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: The file is valid.
        let private = unsafe { (*file).private_data };
        // SAFETY: `open` put there what `into_foreign` gave, and `release`, which alone takes it
        // back, comes after all other operations.
        unsafe { T::Data::borrow(private) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `open`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let opening = OpenFile {
            inode,
            file,
            _life: PhantomData,
        };
        match T::open(&opening) {
            Ok(data) => {
                // SAFETY: The file is valid, and its private data is the opener's to set.
                unsafe { (*file).private_data = data.into_foreign() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `release`.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The file is valid.
        let private = unsafe { (*file).private_data };
        // SAFETY: `open` put it there, and this is the only and the last call of `release`.
        let data = unsafe { T::Data::from_foreign(private) };
        // SAFETY: The file is valid during the call, and nobody else has it in `fdget_pos`.
        T::release(data, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// The kernel's contract for `read`.
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        buffer: *mut c_char,
        len: usize,
        _position: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The file is valid.
        let nonblocking = unsafe { (*file).f_flags } & bindings::O_NONBLOCK != 0;
        // SAFETY: Goes at the end of this call, which the calling process makes.
        let mut into = unsafe { UserBuffer::new(buffer.cast(), len) };
        match T::read(data, nonblocking, &mut into) {
            Ok(n) => n as isize,
            Err(e) => e.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `write`.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buffer: *const c_char,
        len: usize,
        _position: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The file is valid.
        let nonblocking = unsafe { (*file).f_flags } & bindings::O_NONBLOCK != 0;
        // SAFETY: Goes at the end of this call, which the calling process makes.
        let mut from = unsafe { UserBuffer::new(buffer.cast_mut().cast(), len) };
        match T::write(data, nonblocking, &mut from) {
            Ok(n) => n as isize,
            Err(e) => e.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// `iocb` is valid.
    unsafe fn nonblocking(iocb: *mut bindings::kiocb) -> bool {
        // SAFETY: By the function's contract.
        let flags = unsafe { (*iocb).ki_flags };
        // SAFETY: By the function's contract; a kiocb holds its file.
        let file_flags = unsafe { (*(*iocb).ki_filp).f_flags };
        flags & bindings::IOCB_NOWAIT != 0 || file_flags & bindings::O_NONBLOCK != 0
    }

    /// # Safety
    ///
    /// The kernel's contract for `read_iter`.
    unsafe extern "C" fn read_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: A kiocb holds its file, which is open with these operations.
        let data = unsafe { Self::data((*iocb).ki_filp) };
        // SAFETY: The kiocb is valid.
        let nonblocking = unsafe { Self::nonblocking(iocb) };
        // SAFETY: For `read_iter` the iterator is valid and one to write to.
        let into = unsafe { IovIterDest::from_raw(iter) };
        match T::read(data, nonblocking, into) {
            Ok(n) => n as isize,
            Err(e) => e.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `write_iter`.
    unsafe extern "C" fn write_iter(
        iocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: A kiocb holds its file, which is open with these operations.
        let data = unsafe { Self::data((*iocb).ki_filp) };
        // SAFETY: The kiocb is valid.
        let nonblocking = unsafe { Self::nonblocking(iocb) };
        // SAFETY: For `write_iter` the iterator is valid and one to read from.
        let from = unsafe { IovIterSource::from_raw(iter) };
        match T::write(data, nonblocking, from) {
            Ok(n) => n as isize,
            Err(e) => e.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `unlocked_ioctl`.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The file is valid during the call, and nobody else has it in `fdget_pos`.
        let file = unsafe { File::from_raw_file(file) };
        match T::ioctl(data, file, cmd, arg) {
            Ok(n) => n as c_long,
            Err(e) => e.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `mmap`.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The file is valid during the call, and nobody else has it in `fdget_pos`.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The VMA is being set up.
        let vma = unsafe { VmaNew::from_raw(vma) };
        match T::mmap(data, file, vma) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// The kernel's contract for `get_unmapped_area`.
    unsafe extern "C" fn get_unmapped_area(
        file: *mut bindings::file,
        address: c_ulong,
        len: c_ulong,
        page_offset: c_ulong,
        flags: c_ulong,
    ) -> c_ulong {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        if let Err(e) = T::may_place(data, page_offset) {
            return e.to_errno() as isize as c_ulong;
        }
        // SAFETY: What the kernel does itself for a file without the operation.
        unsafe { bindings::mm_get_unmapped_area(file, address, len, page_offset, flags) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `poll`.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The file is valid during the call, and nobody else has it in `fdget_pos`.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The table is valid during the call, or null.
        let table = unsafe { PollTable::from_raw(table) };
        T::poll(data, file, &table).0
    }

    /// # Safety
    ///
    /// The kernel's contract for `fasync`.
    unsafe extern "C" fn fasync(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        let list = T::fasync(&data);
        // SAFETY: The file is valid, and the list is the file's own.
        unsafe { bindings::fasync_helper(fd, file, on, list.as_raw()) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `show_fdinfo`.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The file is open with these operations.
        let data = unsafe { Self::data(file) };
        // SAFETY: The sequence file is valid during the call.
        let m = unsafe { SeqFile::from_raw(m) };
        T::show_fdinfo(data, m);
    }
}
