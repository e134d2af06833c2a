// SPDX-License-Identifier: GPL-2.0

//! Error numbers that not every version of the kernel crate has.

use crate::bindings;
use kernel::prelude::*;

/// `ENOSYS`: there is no such function.
#[inline]
pub fn enosys() -> Error {
    Error::from_errno(-(bindings::ENOSYS as i32))
}
