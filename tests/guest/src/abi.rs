// SPDX-License-Identifier: GPL-2.0

//! Structures and request numbers of the devices, as Linux's uapi headers in `include/uapi/xen/` have them.

pub mod evtchn;
pub mod gntalloc;
pub mod gntdev;
pub mod privcmd;

/// A domain as the ABI numbers it.
pub type DomId = u16;

/// The domain that asks.
pub const DOMID_SELF: DomId = 0x7ff0;
/// The owner of input and output memory.
pub const DOMID_IO: DomId = 0x7ff1;
/// The owner of the hypervisor's own memory.
pub const DOMID_XEN: DomId = 0x7ff2;
/// The first number that no domain has.
pub const DOMID_FIRST_RESERVED: DomId = 0x7ff0;

/// `_IOC` with no direction, which is how most of Xen's requests are numbered.
pub(crate) const fn ioc(kind: u8, number: u8, size: usize) -> u32 {
    ((size as u32) << 16) | ((kind as u32) << 8) | number as u32
}

/// `_IOW`: the structure is written by the caller.
pub(crate) const fn iow(kind: u8, number: u8, size: usize) -> u32 {
    (1 << 30) | ioc(kind, number, size)
}

/// Declares structures of the ABI: plain, C layout, with their size checked at build time.
macro_rules! plain_structs {
    ($($(#[$meta:meta])* struct $name:ident = $size:literal { $($(#[$fmeta:meta])* $field:ident: $kind:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Default)]
            pub struct $name { $($(#[$fmeta])* pub $field: $kind,)* }
            const _: () = assert!(size_of::<$name>() == $size);
            // SAFETY: A C structure of integers.
            unsafe impl $crate::sys::Plain for $name {}
        )*
    };
}
pub(crate) use plain_structs;
