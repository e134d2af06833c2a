// SPDX-License-Identifier: GPL-2.0

//! Words that are read from a file and written to it, wherever the caller has its memory.
//!
//! A plain read or write has a single buffer in user space; `readv`, io_uring and the kernel itself
//! come with an iterator. A driver serves both with one function that is compiled for each.
//!
//! C headers: `include/linux/uaccess.h`, `include/linux/uio.h`.

use crate::bindings;
use core::mem::MaybeUninit;
use kernel::{
    ffi::c_void,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    uaccess::UserPtr, //
};

/// Where a read puts words.
pub trait Destination {
    /// How many bytes there is room for.
    fn remaining(&self) -> usize;

    /// Writes all of `words`, or says that it did not and stays where it is, without waiting for
    /// pages that are not there.
    ///
    /// May be called under a spinlock. If it did not write, give the lock up,
    /// [get the pages](Destination::fault_in) and try again.
    fn write_without_faults(&mut self, words: &[u32]) -> bool;

    /// Makes the next `len` bytes present in memory. May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` when some of them cannot be.
    fn fault_in(&mut self, len: usize) -> Result;
}

/// Where a write gets words from.
pub trait Source {
    /// How many bytes there are.
    fn remaining(&self) -> usize;

    /// Reads as many words as there are places in `room`. May sleep.
    ///
    /// [`None`] when there are not so many, or some cannot be read.
    fn read<'a>(&mut self, room: &'a mut [MaybeUninit<u32>]) -> Option<&'a [u32]>;
}

/// A buffer of the calling process.
///
/// # Invariants
///
/// The operation that it was made for is under way, on behalf of the calling process.
pub struct UserBuffer {
    at: *mut c_void,
    len: usize,
}

impl UserBuffer {
    /// # Safety
    ///
    /// It must be used in the call that came with the buffer only.
    #[inline]
    pub(super) unsafe fn new(at: *mut c_void, len: usize) -> Self {
        // INVARIANT: By the function's contract.
        Self { at, len }
    }

    #[inline]
    fn advance(&mut self, bytes: usize) {
        self.at = self.at.wrapping_byte_add(bytes);
        self.len = self.len.saturating_sub(bytes);
    }
}

impl Destination for UserBuffer {
    #[inline]
    fn remaining(&self) -> usize {
        self.len
    }

    #[inline]
    fn write_without_faults(&mut self, words: &[u32]) -> bool {
        let len = size_of_val(words);
        if len > self.len {
            return false;
        }
        // SAFETY: The slice is readable; the helper checks the address.
        if !unsafe { bindings::xen_rust_put_words_nofault(self.at, words.as_ptr(), words.len()) } {
            return false;
        }
        self.advance(len);
        true
    }

    fn fault_in(&mut self, len: usize) -> Result {
        // SAFETY: Any address may be asked for.
        match unsafe { bindings::fault_in_writeable(self.at.cast(), len.min(self.len)) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}

impl Source for UserBuffer {
    #[inline]
    fn remaining(&self) -> usize {
        self.len
    }

    #[inline]
    fn read<'a>(&mut self, room: &'a mut [MaybeUninit<u32>]) -> Option<&'a [u32]> {
        let len = size_of_val(room);
        if len > self.len {
            return None;
        }
        // SAFETY: The room is writable; the helper checks the address.
        if !unsafe { bindings::xen_rust_get_words(room.as_mut_ptr().cast(), self.at, room.len()) } {
            return None;
        }
        self.advance(len);
        // SAFETY: All of it has just been written.
        Some(unsafe { core::slice::from_raw_parts(room.as_ptr().cast(), room.len()) })
    }
}

impl Destination for IovIterDest<'_> {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn write_without_faults(&mut self, words: &[u32]) -> bool {
        let len = size_of_val(words);
        // SAFETY: The slice is readable, and by its type invariant the iterator may be written to.
        let written = unsafe {
            bindings::xen_rust_copy_to_iter_nofault(words.as_ptr().cast(), len, self.as_raw())
        };
        if written == len {
            return true;
        }
        // SAFETY: So far the iterator has just been advanced.
        unsafe { self.revert(written) };
        false
    }

    fn fault_in(&mut self, len: usize) -> Result {
        // SAFETY: The iterator is valid and one to write to.
        match unsafe { bindings::fault_in_iov_iter_writeable(self.as_raw(), len) } {
            0 => Ok(()),
            _ => Err(EFAULT),
        }
    }
}

impl Source for IovIterSource<'_> {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn read<'a>(&mut self, room: &'a mut [MaybeUninit<u32>]) -> Option<&'a [u32]> {
        let (at, len) = (room.as_mut_ptr(), size_of_val(room));
        // SAFETY: The same memory, byte by byte.
        let bytes = unsafe { core::slice::from_raw_parts_mut(at.cast::<MaybeUninit<u8>>(), len) };
        if self.copy_from_iter_raw(bytes).len() < len {
            return None;
        }
        // SAFETY: All of it has just been written.
        Some(unsafe { core::slice::from_raw_parts(at.cast(), room.len()) })
    }
}

/// Reads a word from the calling process. May sleep.
///
/// # Errors
///
/// `EFAULT` for an address that cannot be read.
#[inline]
pub fn read_word(from: UserPtr) -> Result<u32> {
    let mut word = 0;
    // SAFETY: The word is writable; the helper checks the address.
    if unsafe { bindings::xen_rust_get_words(&mut word, from.as_const_ptr().cast_mut(), 1) } {
        Ok(word)
    } else {
        Err(EFAULT)
    }
}
