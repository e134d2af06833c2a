// SPDX-License-Identifier: GPL-2.0

//! Simple file systems: one directory of files, each with its own operations.
//!
//! There is one instance of such a file system, however often it is mounted.
//!
//! C headers: `include/linux/fs.h`, `include/linux/fs_context.h`.

use super::file::FileTable;
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::to_result,
    ffi::c_int,
    prelude::*,
    types::Opaque, //
};

/// What makes a file system.
pub trait FileSystem: 'static {
    /// What `mount -t` calls it.
    const NAME: &'static CStr;

    /// What `statfs()` reports as its type.
    const MAGIC: usize;

    /// Names the files. Called at the first mount.
    fn populate(files: &mut Files) -> Result;
}

/// The files of a file system in the making.
pub struct Files(KVec<bindings::tree_descr>);

impl Files {
    /// Inode numbers are places in this list; 0 is none, and 1 is the directory's.
    const RESERVED: usize = 2;

    fn new() -> Result<Self> {
        let mut files = KVec::new();
        for _ in 0..Self::RESERVED {
            files.push(pin_init::zeroed::<bindings::tree_descr>(), GFP_KERNEL)?;
        }
        Ok(Self(files))
    }

    /// Adds a file. `mode` is its permissions.
    pub fn add(
        &mut self,
        name: &'static CStr,
        mode: u16,
        operations: &'static FileTable,
    ) -> Result {
        let file = bindings::tree_descr {
            name: name.as_char_ptr(),
            ops: operations.as_raw(),
            mode: c_int::from(mode),
        };
        Ok(self.0.push(file, GFP_KERNEL)?)
    }

    /// The list as the kernel wants it: up to an entry with an empty name.
    fn finish(mut self) -> Result<KVec<bindings::tree_descr>> {
        let end = bindings::tree_descr {
            name: c"".as_char_ptr(),
            ..pin_init::zeroed()
        };
        self.0.push(end, GFP_KERNEL)?;
        Ok(self.0)
    }
}

/// A `struct file_system_type`.
///
/// Belongs into a `static` of the module: lockdep wants the address of its locks to be static.
#[repr(transparent)]
pub struct FileSystemType<T: FileSystem>(Opaque<bindings::file_system_type>, PhantomData<T>);

// SAFETY: After construction only the kernel touches it, under its own lock.
unsafe impl<T: FileSystem> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    /// The type for `T`. Its owner is the module this code is linked into.
    pub const fn new() -> Self {
        Self(
            Opaque::new(bindings::file_system_type {
                name: kernel::str::as_char_ptr_in_const_context(T::NAME),
                owner: super::this_module(),
                init_fs_context: Some(Self::init_context),
                kill_sb: Some(bindings::kill_anon_super),
                ..pin_init::zeroed()
            }),
            PhantomData,
        )
    }

    const CONTEXT: bindings::fs_context_operations = bindings::fs_context_operations {
        free: None,
        dup: None,
        parse_param: None,
        parse_monolithic: None,
        get_tree: Some(Self::get_tree),
        reconfigure: None,
    };

    /// Makes the file system known, until the result is dropped.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is one of this name.
    pub fn register(&'static self) -> Result<Registration<T>> {
        // SAFETY: The type is static, and fully set up.
        to_result(unsafe { bindings::register_filesystem(self.0.get()) })?;
        // INVARIANT: It is registered, by this call.
        Ok(Registration(self))
    }

    /// # Safety
    ///
    /// The kernel's contract for `init_fs_context`.
    unsafe extern "C" fn init_context(context: *mut kernel::bindings::fs_context) -> c_int {
        // The kernel crate knows the structure by name only.
        let context: *mut bindings::fs_context = context.cast();
        // SAFETY: The context is being set up.
        unsafe { (*context).ops = &const { Self::CONTEXT } };
        0
    }

    /// # Safety
    ///
    /// The kernel's contract for `get_tree`.
    unsafe extern "C" fn get_tree(context: *mut bindings::fs_context) -> c_int {
        // SAFETY: The context is valid, and `fill` keeps to the contract.
        unsafe { bindings::get_tree_single(context, Some(Self::fill)) }
    }

    /// # Safety
    ///
    /// The kernel's contract for the second argument of `get_tree_single()`.
    unsafe extern "C" fn fill(
        superblock: *mut bindings::super_block,
        _context: *mut bindings::fs_context,
    ) -> c_int {
        let files = Files::new().and_then(|mut files| {
            T::populate(&mut files)?;
            files.finish()
        });
        match files {
            // SAFETY: The superblock is being set up. The list has its end, and is needed only
            // during the call: the names are copied, and the operations are static.
            Ok(files) => unsafe {
                bindings::simple_fill_super(superblock, T::MAGIC, files.as_ptr())
            },
            Err(e) => e.to_errno(),
        }
    }
}

impl<T: FileSystem> Default for FileSystemType<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A file system that can be mounted.
///
/// A mounted one holds its module, so this is not dropped before it is unmounted.
///
/// # Invariants
///
/// The type is registered, and this value is the one to undo that.
pub struct Registration<T: FileSystem>(&'static FileSystemType<T>);

impl<T: FileSystem> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Fails only for a type that is not registered.
        unsafe { bindings::unregister_filesystem(self.0 .0.get()) };
    }
}
