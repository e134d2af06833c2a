// SPDX-License-Identifier: GPL-2.0

//! Files of text that the kernel makes as they are read.
//!
//! All of them can be read in pieces, at any position, and by several readers of one open file at
//! once: that is what sequence files are for. A text that never changes does without.
//!
//! C header: `include/linux/seq_file.h`.

use super::file::FileTable;
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    error::VTABLE_DEFAULT_ERROR,
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile, //
};

/// A short text, made anew for each reader.
#[vtable]
pub trait Text: Sized + 'static {
    /// Somebody opens the file.
    fn open() -> Result {
        Ok(())
    }

    /// Writes the text. May sleep; may be called more than once.
    fn show(m: &SeqFile) -> Result;

    /// Sets up a new mapping of the file. Without this, mapping it is `ENODEV`.
    ///
    /// Runs with the mmap lock of the current process held for writing.
    fn mmap(_vma: &VmaNew) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A text that stays the same while a file is open.
pub trait Fixed: Sized + 'static {
    /// Somebody opens the file.
    fn open() {}

    /// The text.
    fn text() -> &'static [u8];
}

/// A list of records that are numbered, ascending, though not without gaps.
///
/// One value belongs to one open file. Calls to it are one at a time, and may sleep.
pub trait Sequence: Send + Sized + 'static {
    /// Somebody opens the file.
    fn open() -> Result<Self>;

    /// Fetches the record with this number, and tells the number of the one after it.
    ///
    /// [`None`] is the end of the list. An error reaches the reader.
    fn fetch(&mut self, number: u64) -> Result<Option<u64>>;

    /// Writes the record that was fetched last.
    fn show(&self, m: &SeqFile) -> Result;
}

/// The operations of a file with `T` as its text.
pub const fn text_file<T: Text>() -> FileTable {
    FileTable::from_raw(TextAdapter::<T>::TABLE)
}

/// The operations of a file with the text of `T`, which needs no memory to be read.
pub const fn fixed_file<T: Fixed>() -> FileTable {
    FileTable::from_raw(FixedAdapter::<T>::TABLE)
}

/// The operations of a file with a line or more for each record of `T`.
pub const fn sequence_file<T: Sequence>() -> FileTable {
    FileTable::from_raw(SequenceAdapter::<T>::TABLE)
}

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

struct TextAdapter<T: Text>(PhantomData<T>);

impl<T: Text> TextAdapter<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: super::this_module(),
        open: Some(Self::open),
        read_iter: Some(bindings::seq_read_iter),
        splice_read: Some(bindings::copy_splice_read),
        llseek: Some(bindings::seq_lseek),
        mmap: if T::HAS_MMAP { Some(Self::mmap) } else { None },
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// The kernel's contract for `open`.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        if let Err(e) = T::open() {
            return e.to_errno();
        }
        // SAFETY: The file is being opened; `single_release` is its `release`.
        unsafe { bindings::single_open(file, Some(Self::show), core::ptr::null_mut()) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `show`.
    unsafe extern "C" fn show(m: *mut bindings::seq_file, _item: *mut c_void) -> c_int {
        // SAFETY: The sequence file is valid, and ours during the call.
        errno(T::show(unsafe { SeqFile::from_raw(m) }))
    }

    /// # Safety
    ///
    /// The kernel's contract for `mmap`.
    unsafe extern "C" fn mmap(
        _file: *mut bindings::file,
        vma: *mut bindings::vm_area_struct,
    ) -> c_int {
        // SAFETY: The VMA is being set up.
        errno(T::mmap(unsafe { VmaNew::from_raw(vma) }))
    }
}

struct FixedAdapter<T: Fixed>(PhantomData<T>);

impl<T: Fixed> FixedAdapter<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: super::this_module(),
        open: Some(Self::open),
        read: Some(Self::read),
        llseek: Some(bindings::default_llseek),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// The kernel's contract for `open`.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, _file: *mut bindings::file) -> c_int {
        T::open();
        0
    }

    /// # Safety
    ///
    /// The kernel's contract for `read`.
    unsafe extern "C" fn read(
        _file: *mut bindings::file,
        to: *mut c_char,
        len: usize,
        position: *mut bindings::loff_t,
    ) -> isize {
        let text = T::text();
        // SAFETY: The destination is the caller's, which is checked when it is written to; the
        // position is valid, and ours during the call; the text is as long as it says.
        unsafe {
            bindings::simple_read_from_buffer(
                to.cast(),
                len,
                position,
                text.as_ptr().cast(),
                text.len(),
            )
        }
    }
}

/// A sequence, and where its next record is.
struct Open<T> {
    sequence: T,
    next: u64,
}

struct SequenceAdapter<T: Sequence>(PhantomData<T>);

impl<T: Sequence> SequenceAdapter<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: super::this_module(),
        open: Some(Self::open),
        read_iter: Some(bindings::seq_read_iter),
        splice_read: Some(bindings::copy_splice_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(Self::release),
        ..pin_init::zeroed()
    };

    const STEPS: bindings::seq_operations = bindings::seq_operations {
        start: Some(Self::start),
        stop: Some(Self::stop),
        next: Some(Self::next),
        show: Some(Self::show),
    };

    /// # Safety
    ///
    /// The kernel's contract for `open`.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        let open = match T::open().and_then(|sequence| {
            KBox::new(Open { sequence, next: 0 }, GFP_KERNEL).map_err(Error::from)
        }) {
            Ok(open) => open,
            Err(e) => return e.to_errno(),
        };
        // SAFETY: The file is being opened, and its private data is free for the sequence file.
        let err = unsafe { bindings::seq_open(file, &const { Self::STEPS }) };
        if err == 0 {
            // SAFETY: `seq_open()` has put a sequence file there.
            let m: *mut bindings::seq_file = unsafe { (*file).private_data }.cast();
            // SAFETY: The sequence file is valid, and nobody else knows it yet.
            unsafe { (*m).private = KBox::into_raw(open).cast() };
        }
        err
    }

    /// # Safety
    ///
    /// The kernel's contract for `release`.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` has succeeded.
        let m: *mut bindings::seq_file = unsafe { (*file).private_data }.cast();
        // SAFETY: The sequence file is valid.
        let open: *mut Open<T> = unsafe { (*m).private }.cast();
        // SAFETY: `open` has put the box there, and nobody uses the file any more.
        drop(unsafe { KBox::from_raw(open) });
        // SAFETY: `seq_open()` has succeeded for the file.
        unsafe { bindings::seq_release(inode, file) }
    }

    /// Fetches record `number`, in the form that `start` and `next` return.
    fn fetch(open: &mut Open<T>, number: i64) -> *mut c_void {
        let fetched = u64::try_from(number)
            .map_err(|_| EINVAL)
            .and_then(|number| open.sequence.fetch(number));
        match fetched {
            Ok(Some(next)) => {
                open.next = next;
                // Neither null nor an error is all that is asked of it.
                NonNull::<c_void>::dangling().as_ptr()
            }
            Ok(None) => core::ptr::null_mut(),
            Err(e) => e.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// `m` belongs to a file opened by `open`, and its lock is held during `'a`.
    unsafe fn opened<'a>(m: *mut bindings::seq_file) -> &'a mut Open<T> {
        // SAFETY: By the function's contract `open` has put the box there, and the lock makes the
        // reference exclusive.
        unsafe { &mut *(*m).private.cast() }
    }

    /// # Safety
    ///
    /// The kernel's contract for `start`.
    unsafe extern "C" fn start(
        m: *mut bindings::seq_file,
        number: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: The kernel holds the sequence file's lock; the number is valid.
        Self::fetch(unsafe { Self::opened(m) }, unsafe { *number })
    }

    /// # Safety
    ///
    /// The kernel's contract for `next`.
    unsafe extern "C" fn next(
        m: *mut bindings::seq_file,
        _item: *mut c_void,
        number: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: The kernel holds the sequence file's lock.
        let open = unsafe { Self::opened(m) };
        // A record that cannot be fetched now is asked for again by the next `start`, and the
        // reader gets the error from there. So the number goes on in any case.
        let next = i64::try_from(open.next).unwrap_or(i64::MAX);
        // SAFETY: The number is valid.
        unsafe { *number = next };
        Self::fetch(open, next)
    }

    /// # Safety
    ///
    /// The kernel's contract for `stop`.
    unsafe extern "C" fn stop(_m: *mut bindings::seq_file, _item: *mut c_void) {}

    /// # Safety
    ///
    /// The kernel's contract for `show`.
    unsafe extern "C" fn show(m: *mut bindings::seq_file, _item: *mut c_void) -> c_int {
        // SAFETY: The kernel holds the sequence file's lock.
        let open = unsafe { Self::opened(m) };
        // SAFETY: The sequence file is valid, and ours during the call.
        errno(open.sequence.show(unsafe { SeqFile::from_raw(m) }))
    }
}
