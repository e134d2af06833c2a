// SPDX-License-Identifier: GPL-2.0

//! Module parameters that can be changed while the module runs.
//!
//! The kernel crate's parameters are set once, at load, and do not show in sysfs. These are the
//! kernel's own `uint` and `bool` parameters, with the value in an atomic.
//!
//! C header: `include/linux/moduleparam.h`.

use crate::bindings;
use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        AtomicU32,
        Ordering, //
    },
};
use kernel::ffi::c_void;

/// A type that a parameter can have.
///
/// # Safety
///
/// `ops()` must be the kernel's operations for a variable of the size and layout of `Atomic`, and
/// must take its address as their argument.
pub unsafe trait ParamType: Copy {
    /// How the value is kept.
    type Atomic: Sync;
    /// The kernel's operations for the type.
    const OPS: *const bindings::kernel_param_ops;
    /// Reads the value.
    fn load(atomic: &Self::Atomic) -> Self;
}

// SAFETY: `param_ops_uint` stores an `unsigned int`.
unsafe impl ParamType for u32 {
    type Atomic = AtomicU32;
    const OPS: *const bindings::kernel_param_ops = &raw const bindings::param_ops_uint;

    #[inline]
    fn load(atomic: &AtomicU32) -> u32 {
        atomic.load(Ordering::Relaxed)
    }
}

// SAFETY: `param_ops_bool` stores a `bool`, and only 0 or 1.
unsafe impl ParamType for bool {
    type Atomic = AtomicBool;
    const OPS: *const bindings::kernel_param_ops = &raw const bindings::param_ops_bool;

    #[inline]
    fn load(atomic: &AtomicBool) -> bool {
        atomic.load(Ordering::Relaxed)
    }
}

/// A parameter's value. Made by [`module_param!`](crate::module_param).
pub struct Param<T: ParamType> {
    value: UnsafeCell<T::Atomic>,
}

// SAFETY: Rust reads the value atomically; the kernel stores a whole word or byte, under its
// parameter lock.
unsafe impl<T: ParamType> Sync for Param<T> {}

impl<T: ParamType> Param<T> {
    #[doc(hidden)]
    pub const fn new(value: T::Atomic) -> Self {
        Self {
            value: UnsafeCell::new(value),
        }
    }

    #[doc(hidden)]
    pub const fn as_arg(&self) -> *mut c_void {
        self.value.get().cast()
    }

    /// The value now. A caller that needs it twice reads it once and keeps it.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: The value lives as long as `self`; changes to it are atomic.
        T::load(unsafe { &*self.value.get() })
    }
}

/// A `struct kernel_param`, as the linker collects them.
#[doc(hidden)]
#[repr(transparent)]
pub struct KernelParam(bindings::kernel_param);

// SAFETY: The kernel only reads it.
unsafe impl Sync for KernelParam {}

impl KernelParam {
    #[doc(hidden)]
    pub const fn new<T: ParamType>(
        name: &'static core::ffi::CStr,
        perm: u16,
        param: &'static Param<T>,
    ) -> Self {
        Self(bindings::kernel_param {
            name: kernel::str::as_char_ptr_in_const_context(name),
            mod_: super::this_module(),
            ops: T::OPS,
            perm,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: param.as_arg(),
            },
        })
    }
}

/// Defines a parameter of the module, readable through a `static` [`Param`].
///
/// `$perm` is the mode of its file in `/sys/module/<module>/parameters`: 0 for none, `0o644` for
/// one that root may change at any time.
///
/// ```ignore
/// module_param! {
///     /// How many buffers one call may have.
///     static MAX_BUFS: u32 = 16, "max_bufs", 0o644, "Maximum number of buffers";
/// }
/// ```
#[macro_export]
macro_rules! module_param {
    ($(
        $(#[$attr:meta])*
        $vis:vis static $id:ident: $ty:tt = $default:expr, $name:literal, $perm:expr, $desc:literal;
    )*) => {$(
        $(#[$attr])*
        $vis static $id: $crate::ext::param::Param<$ty> =
            $crate::ext::param::Param::new($crate::__param_atomic!($ty, $default));

        const _: () = {
            #[link_section = "__param"]
            #[used(compiler)]
            static ENTRY: $crate::ext::param::KernelParam = $crate::ext::param::KernelParam::new(
                $crate::__param_cstr!($name),
                $perm,
                &$id,
            );
        };
        $crate::__modinfo!("parmtype=", $name, ":", $crate::__param_type!($ty));
        $crate::__modinfo!("parm=", $name, ":", $desc);
    )*};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_atomic {
    (u32, $v:expr) => {
        ::core::sync::atomic::AtomicU32::new($v)
    };
    (bool, $v:expr) => {
        ::core::sync::atomic::AtomicBool::new($v)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_type {
    (u32) => {
        "uint"
    };
    (bool) => {
        "bool"
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __param_cstr {
    ($name:literal) => {
        match ::core::ffi::CStr::from_bytes_with_nul(concat!($name, "\0").as_bytes()) {
            Ok(name) => name,
            Err(_) => panic!("a parameter's name has no NUL"),
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __modinfo {
    ($($part:expr),+) => {
        const _: () = {
            const TEXT: &str = concat!($($part),+, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static ENTRY: [u8; TEXT.len()] = {
                let mut bytes = [0u8; TEXT.len()];
                let mut i = 0;
                while i < TEXT.len() {
                    bytes[i] = TEXT.as_bytes()[i];
                    i += 1;
                }
                bytes
            };
        };
    };
}
