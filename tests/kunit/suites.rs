// SPDX-License-Identifier: GPL-2.0

//! KUnit suites over the logic that the drivers share with the host's tests: the same files, run
//! in the kernel.

#![deny(unsafe_code)]

use kernel::prelude::*;

pub mod balloon;
mod evtchn;
mod gntdev;
mod range;
mod restriction;

module! {
    type: Suites,
    name: "xen_kunit",
    description: "KUnit suites of the Xen drivers in Rust",
    license: "GPL",
}

/// The suites register themselves with KUnit; the module has nothing else to do.
struct Suites;

impl kernel::Module for Suites {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self)
    }
}
