// SPDX-License-Identifier: GPL-2.0

//! A file's restriction to one domain.
//!
//! A restriction narrows once and never widens. What needs a right asks for it here and gets a
//! token; functions that act on another domain take the token rather than the bare identifier, so
//! that a caller that forgot to ask does not compile.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

use super::{
    atomics::{
        AtomicU32,
        Ordering, //
    },
    domid::DomId, //
};
use core::marker::PhantomData;

/// Stands for "any domain": outside of the 16 bits a [`DomId`] has.
const ANY: u32 = u32::MAX;

/// Which domains a file may act on: any, or just one.
///
/// # Invariants
///
/// `domain` is `ANY` or a value of [`DomId`]; it changes once at most, from the first to the
/// second.
pub struct Restriction {
    domain: AtomicU32,
}

/// Why a file could not be narrowed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum NarrowError {
    /// The identifier is reserved.
    Reserved,
    /// The file is narrowed already, to the domain named here.
    Narrowed(DomId),
}

/// The file is restricted, and what was asked for is outside of its restriction.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Denied;

/// The right to act on one domain, for as long as the file is borrowed.
///
/// # Invariants
///
/// The restriction it was taken from allowed `domain` when it was asked.
#[derive(Copy, Clone)]
pub struct Authorised<'a> {
    domain: DomId,
    file: PhantomData<&'a Restriction>,
}

/// The right to do what no restricted file may do, for as long as the file is borrowed.
///
/// # Invariants
///
/// The restriction it was taken from allowed any domain when it was asked.
#[derive(Copy, Clone)]
pub struct Unrestricted<'a> {
    file: PhantomData<&'a Restriction>,
}

impl Restriction {
    /// A file that may act on any domain.
    pub fn none() -> Self {
        // INVARIANT: The value is `ANY`.
        Self {
            domain: AtomicU32::new(ANY),
        }
    }

    /// A file that may act on `domain` only, from its opening on.
    ///
    /// A reserved identifier is accepted here: with [`DomId::IDLE`] the file may do nothing.
    pub fn to(domain: DomId) -> Self {
        // INVARIANT: The value is a `DomId`'s.
        Self {
            domain: AtomicU32::new(u32::from(domain.raw())),
        }
    }

    /// Narrows the file to `domain`.
    ///
    /// # Errors
    ///
    /// [`NarrowError::Reserved`] for an identifier outside of the ordinary range, else
    /// [`NarrowError::Narrowed`] when the file is narrowed already, be it to the same domain.
    pub fn narrow(&self, domain: DomId) -> Result<(), NarrowError> {
        if domain.is_reserved() {
            return Err(NarrowError::Reserved);
        }
        // The order of this against other accesses does not matter: whoever holds a token from
        // before may finish, whoever asks from now on is refused.
        //
        // INVARIANT: The exchange takes place only where the value is `ANY`.
        match self.domain.compare_exchange(
            ANY,
            u32::from(domain.raw()),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            Ok(_) => Ok(()),
            Err(now) => Err(NarrowError::Narrowed(DomId::new(now as u16))),
        }
    }

    /// The domain the file is narrowed to, if it is.
    #[inline]
    pub fn domain(&self) -> Option<DomId> {
        DomId::from_wide(self.domain.load(Ordering::Relaxed))
    }

    /// Asks for the right to act on `domain`.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the file is narrowed to another domain.
    #[inline]
    pub fn check(&self, domain: DomId) -> Result<Authorised<'_>, Denied> {
        match self.domain() {
            Some(only) if only != domain => Err(Denied),
            // INVARIANT: Any domain is allowed, or just this one.
            _ => Ok(Authorised {
                domain,
                file: PhantomData,
            }),
        }
    }

    /// Asks for the right to do what no restricted file may do.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the file is narrowed.
    #[inline]
    pub fn unrestricted(&self) -> Result<Unrestricted<'_>, Denied> {
        match self.domain() {
            Some(_) => Err(Denied),
            // INVARIANT: Any domain is allowed.
            None => Ok(Unrestricted { file: PhantomData }),
        }
    }
}

impl Authorised<'_> {
    /// The domain that may be acted on.
    #[inline]
    pub fn domain(&self) -> DomId {
        self.domain
    }
}
