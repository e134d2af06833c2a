// SPDX-License-Identifier: GPL-2.0

//! What is to be done when a page is unmapped, so that the other domain learns of it whatever
//! becomes of the process.

use core::ops::{
    Deref,
    DerefMut, //
};
use xen::{
    grant::Mark,
    port_ref::PortRef, //
};

/// Something to be done once, when a page of a map is unmapped.
pub(crate) struct Notify {
    /// The page, and the byte of it that is to be cleared, if one is.
    mark: Mark,
    /// Where an event is to be sent, if one is.
    port: Option<PortRef>,
    done: bool,
}

impl Notify {
    pub(crate) fn new(mark: Mark, port: Option<PortRef>) -> Self {
        Self {
            mark,
            port,
            done: false,
        }
    }

    /// Whether a byte has still to be cleared.
    pub(crate) fn clears(&self) -> bool {
        !self.done && self.mark.clear.is_some()
    }

    /// The page and the byte, unless all is done.
    pub(crate) fn mark(&self) -> Option<Mark> {
        (!self.done).then_some(self.mark)
    }

    /// The byte is clear, or cannot be cleared any more: sends the event, unless that is done.
    ///
    /// The reference to the port is kept, as giving it up takes locks that may not be taken here.
    pub(crate) fn fire(&mut self) {
        if !core::mem::replace(&mut self.done, true) {
            if let Some(port) = &self.port {
                port.notify();
            }
        }
    }
}

/// What is to be done for a map, if anything is.
///
/// When the map goes with something left to do, it is done: either it was asked for after the last
/// mapping was gone, or there never was one.
#[derive(Default)]
pub(crate) struct NotifySlot(Option<Notify>);

impl Deref for NotifySlot {
    type Target = Option<Notify>;

    fn deref(&self) -> &Option<Notify> {
        &self.0
    }
}

impl DerefMut for NotifySlot {
    fn deref_mut(&mut self) -> &mut Option<Notify> {
        &mut self.0
    }
}

impl Drop for NotifySlot {
    fn drop(&mut self) {
        if let Some(notify) = &mut self.0 {
            notify.fire();
        }
    }
}
