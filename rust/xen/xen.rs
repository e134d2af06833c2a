// SPDX-License-Identifier: GPL-2.0

//! Xen, safely: what the drivers of a Xen domain need of the hypervisor and of the kernel.

pub(crate) mod bindings;

pub mod atomics;
pub mod dm_op;
pub mod domain;
pub mod domid;
pub mod event;
pub mod ext;
pub mod foreign;
pub mod grant;
pub mod hypercall;
pub mod ioreq;
pub mod memory;
pub mod operations;
pub mod port_ref;
pub mod range;
pub mod resource;
pub mod restriction;
pub mod shared_port;
pub mod store;
pub mod symbols;
pub mod unpopulated;

/// What the library's own messages begin with.
const __LOG_PREFIX: &[u8] = b"xen\0";
