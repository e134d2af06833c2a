// SPDX-License-Identifier: GPL-2.0

//! Domain identifiers.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// A domain identifier (`domid_t`).
///
/// Reserved values, such as [`DomId::SELF`], are identifiers too: whoever must not have one asks
/// [`DomId::is_reserved`].
///
/// Source: `xen/include/public/xen.h`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DomId(u16);

impl DomId {
    /// The first domain, `dom0`.
    pub const ZERO: Self = Self(0);

    /// The first identifier that is no ordinary domain's (`DOMID_FIRST_RESERVED`).
    pub const FIRST_RESERVED: Self = Self(0x7ff0);

    /// The calling domain itself (`DOMID_SELF`).
    pub const SELF: Self = Self(0x7ff0);

    /// Where no domain is meant, and none ever is (`DOMID_IDLE`).
    pub const IDLE: Self = Self(0x7fff);

    /// Wraps an identifier of the width Xen uses.
    #[inline]
    pub const fn new(domid: u16) -> Self {
        Self(domid)
    }

    /// Narrows an identifier that came in a wider field.
    ///
    /// Returns [`None`] for what does not fit in 16 bits, rather than cutting it to another
    /// domain's identifier.
    #[inline]
    pub const fn from_wide(domid: u32) -> Option<Self> {
        if domid <= u16::MAX as u32 {
            Some(Self(domid as u16))
        } else {
            None
        }
    }

    /// The identifier as Xen's structures hold it.
    #[inline]
    pub const fn raw(self) -> u16 {
        self.0
    }

    /// Whether this is outside of the range of ordinary domains.
    #[inline]
    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::FIRST_RESERVED.0
    }
}

impl core::fmt::Display for DomId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
