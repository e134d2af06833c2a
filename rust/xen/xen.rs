// SPDX-License-Identifier: GPL-2.0

//! Xen, safely: what the drivers of a Xen domain need of the hypervisor and of the kernel.

pub(crate) mod bindings;

pub mod atomics;
pub mod domain;
pub mod domid;
pub mod event;
pub mod ext;
pub mod grant;
pub mod hypercall;
pub mod operations;
pub mod restriction;
pub mod store;
pub mod symbols;
pub mod unpopulated;
