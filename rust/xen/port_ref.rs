// SPDX-License-Identifier: GPL-2.0

//! References to event channels that somebody else has bound.
//!
//! C header: `include/xen/events.h`.

use crate::{
    bindings,
    event::{
        self,
        Port, //
    },
};
use kernel::{
    error::to_result,
    prelude::*, //
};

/// A reference to an event channel that a process has bound through its device.
///
/// As long as there is one, the kernel knows the port.
pub struct PortRef(Port);

impl PortRef {
    /// Takes a reference. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a port that is not bound by a process, but by the kernel itself or not at all.
    pub fn get(port: Port) -> Result<Self> {
        // SAFETY: Any number may be asked for.
        to_result(unsafe { bindings::evtchn_get(port.raw()) }).map_err(|_| EINVAL)?;
        Ok(Self(port))
    }

    /// Sends an event. Does not sleep.
    pub fn notify(&self) {
        event::notify(self.0);
    }
}

impl Drop for PortRef {
    /// May sleep, and waits for somebody who may be allocating memory.
    fn drop(&mut self) {
        // SAFETY: `get` has taken the reference.
        unsafe { bindings::evtchn_put(self.0.raw()) };
    }
}
