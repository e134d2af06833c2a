// SPDX-License-Identifier: GPL-2.0

//! What a driver must not be able to write, as examples that must not compile.
//!
//! An operation on a domain takes the right to it, as in [`rust/xen`](super::restriction):
//!
//! ```
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! fn operate(right: Authorised<'_>) -> DomId {
//!     right.domain()
//! }
//! fn ioctl(file: &Restriction, domain: DomId) -> Result<DomId, Denied> {
//!     Ok(operate(file.check(domain)?))
//! }
//! ```
//!
//! The request that forgot to ask has no right to give:
//!
//! ```compile_fail
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! # fn operate(right: Authorised<'_>) -> DomId {
//! #     right.domain()
//! # }
//! fn ioctl(file: &Restriction, domain: DomId) -> Result<DomId, Denied> {
//!     Ok(operate(domain))
//! }
//! ```
//!
//! One that asked for something else has another:
//!
//! ```compile_fail
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! # fn operate(right: Authorised<'_>) -> DomId {
//! #     right.domain()
//! # }
//! fn ioctl(file: &Restriction, domain: DomId) -> Result<DomId, Denied> {
//!     Ok(operate(file.unrestricted()?))
//! }
//! ```
//!
//! Nor can it make one up:
//!
//! ```compile_fail
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! # use std::marker::PhantomData;
//! # fn operate(right: Authorised<'_>) -> DomId {
//! #     right.domain()
//! # }
//! fn ioctl(file: &Restriction, domain: DomId) -> Result<DomId, Denied> {
//!     Ok(operate(Authorised { domain, file: PhantomData }))
//! }
//! ```
//!
//! Nor keep one for when the file is gone:
//!
//! ```compile_fail
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! fn keep(file: &Restriction, domain: DomId) -> Result<Authorised<'static>, Denied> {
//!     file.check(domain)
//! }
//! ```
//!
//! which would be all right for as long as there is the file:
//!
//! ```
//! # use xen_host_tests::{domid::DomId, restriction::*};
//! fn keep(file: &Restriction, domain: DomId) -> Result<Authorised<'_>, Denied> {
//!     file.check(domain)
//! }
//! ```
