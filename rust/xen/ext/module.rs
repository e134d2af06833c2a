// SPDX-License-Identifier: GPL-2.0

//! Keeping the module loaded.
//!
//! C header: `include/linux/module.h`.

use crate::bindings;

/// A reference to the module this code is linked into, which rmmod refuses to unload meanwhile.
///
/// What drops the last reference still has instructions of the module to run. It must be something
/// whose end the module waits for when it is unloaded, such as an item of its own work queue.
pub struct ModuleRef(());

impl ModuleRef {
    /// Takes another reference, while there is one already: that of an open file, a mapping, or
    /// another [`ModuleRef`].
    pub fn get() -> Self {
        // SAFETY: The module is live.
        unsafe { bindings::__module_get(super::this_module()) };
        Self(())
    }

    /// Takes a reference wherever code of the module runs, unless the module is being unloaded.
    pub fn try_get() -> Option<Self> {
        // SAFETY: The module is there, as its code is running.
        unsafe { bindings::try_module_get(super::this_module()) }.then_some(Self(()))
    }
}

impl Drop for ModuleRef {
    fn drop(&mut self) {
        // SAFETY: The reference was taken in `get` or `try_get`.
        unsafe { bindings::module_put(super::this_module()) };
    }
}
