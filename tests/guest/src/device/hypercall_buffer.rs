// SPDX-License-Identifier: GPL-2.0

//! An open `/dev/xen/hypercall`.

use std::os::fd::OwnedFd;

use super::device_file;
use crate::sys::{Mapping, Result, PAGE};

/// An open `/dev/xen/hypercall`.
#[derive(Debug)]
pub struct HypercallBuffer {
    fd: OwnedFd,
}

device_file!(HypercallBuffer, "/dev/xen/hypercall");

impl HypercallBuffer {
    /// Allocates pages that a hypercall can use.
    pub fn pages(&self, count: usize) -> Result<Mapping> {
        Mapping::shared(self, count * PAGE, 0)
    }
}
