// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of Xen's headers and of the helpers, on top of the kernel's own bindings.
//!
//! Only this crate names it; drivers get types that cannot be misused.

// Only compilers newer than some have the lint that this is about.
#![cfg_attr(not(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES), allow(unknown_lints))]
#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    rustdoc::all,
    unnecessary_transmutes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

pub use kernel::bindings::*;

include!(env!("XEN_BINDINGS_FILE"));
