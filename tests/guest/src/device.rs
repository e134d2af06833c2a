// SPDX-License-Identifier: GPL-2.0

//! The devices as types: opened, asked and mapped without unsafe code in the tests.

pub mod evtchn;
pub mod gntalloc;
pub mod gntdev;
pub mod hypercall_buffer;
pub mod privcmd;

pub use evtchn::Evtchn;
pub use gntalloc::Gntalloc;
pub use gntdev::Gntdev;
pub use hypercall_buffer::HypercallBuffer;
pub use privcmd::Privcmd;

/// Gives a wrapper of a descriptor what every device has.
macro_rules! device_file {
    ($name:ident, $path:literal) => {
        impl $name {
            /// Where the device is.
            pub const PATH: &'static str = $path;

            /// Opens the device for reading and writing.
            pub fn open() -> $crate::sys::Result<Self> {
                Self::open_path(Self::PATH, 0)
            }

            /// Opens the device, or another file with the same operations, with more flags.
            pub fn open_path(path: &str, flags: std::ffi::c_int) -> $crate::sys::Result<Self> {
                Ok(Self {
                    fd: $crate::sys::open(path, libc::O_RDWR | flags)?,
                })
            }
        }

        impl std::os::fd::AsRawFd for $name {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.fd.as_raw_fd()
            }
        }
    };
}
pub(crate) use device_file;
