// SPDX-License-Identifier: GPL-2.0

//! Structures that are exchanged with user space.

/// Defines structures whose bytes user space fills in or reads.
///
/// Each has the layout that C gives it. It can be copied from user space, where any bits are a valid
/// value of it, and to user space, as there is no padding in it that could hold something else: both
/// are checked when it is compiled. Padding that C has is spelled out as a field.
///
/// ```ignore
/// user_structs! {
///     /// The argument of an ioctl.
///     pub(crate) struct Request {
///         pub(crate) count: u32,
///         pad: [u8; 4],
///         pub(crate) address: u64,
///     }
/// }
/// let request: Request = UserSlice::new(pointer, size_of::<Request>()).reader().read()?;
/// ```
#[macro_export]
macro_rules! user_structs {
    ($(
        $(#[$attr:meta])*
        $vis:vis struct $name:ident {
            $($(#[$fattr:meta])* $fvis:vis $field:ident: $type:ty,)+
        }
    )*) => {$(
        $(#[$attr])*
        #[derive(Copy, Clone)]
        #[repr(C)]
        $vis struct $name {
            $($(#[$fattr])* $fvis $field: $type,)+
        }

        const _: () = {
            const fn any_bits<T: ::kernel::transmute::FromBytes + ::kernel::transmute::AsBytes>() {}
            $(any_bits::<$type>();)+
            assert!(
                ::core::mem::size_of::<$name>() == 0 $(+ ::core::mem::size_of::<$type>())+,
                "padding has to be spelled out"
            );
        };

        // SAFETY: Any bits are valid for each field, as just checked, and there is nothing else.
        unsafe impl ::kernel::transmute::FromBytes for $name {}
        // SAFETY: Each field has no padding, as just checked, and there is none between them.
        unsafe impl ::kernel::transmute::AsBytes for $name {}
    )*};
}
