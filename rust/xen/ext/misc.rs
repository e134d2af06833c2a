// SPDX-License-Identifier: GPL-2.0

//! Registration of a character device with its own file operations.
//!
//! C header: `include/linux/miscdevice.h`.

use super::file::FileTable;
use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    types::Opaque, //
};

/// A registered device node.
///
/// # Invariants
///
/// `inner` is registered with `misc_register()`.
#[pin_data(PinnedDrop)]
pub struct MiscDevice {
    #[pin]
    inner: Opaque<bindings::miscdevice>,
}

// SAFETY: Only registration and removal touch the structure, each once.
unsafe impl Send for MiscDevice {}
// SAFETY: There is nothing to call through a shared reference.
unsafe impl Sync for MiscDevice {}

impl MiscDevice {
    /// Registers a device that appears as `/dev/<name>`, mode 0600, served by `operations`.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EEXIST` when the name is taken, `EBUSY` when no minor number is left.
    pub fn register(
        name: &'static CStr,
        operations: &'static FileTable,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: The initialiser fails unless the device is registered.
            inner <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let device = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as kernel::ffi::c_int,
                    name: name.as_char_ptr(),
                    fops: operations.as_raw(),
                    mode: 0o600,
                    ..bindings::miscdevice::default()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(device) };
                // SAFETY: The structure is pinned, and `drop` removes it before it goes.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[cfg(CONFIG_DMA_SHARED_BUFFER)]
impl MiscDevice {
    /// The device as one that maps buffers for DMA. To be called once, before it does.
    pub fn dma_device(&self) -> super::dma_buf::DmaDevice {
        // SAFETY: By the type invariant the device is registered, and so has a `struct device`.
        let device = unsafe { (*self.inner.get()).this_device };
        // SAFETY: The device is valid, and by the contract nobody uses it for DMA yet.
        unsafe { super::dma_buf::DmaDevice::new(device) }
    }
}

#[pinned_drop]
impl PinnedDrop for MiscDevice {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant the device is registered.
        unsafe { bindings::misc_deregister(self.inner.get()) };
    }
}
