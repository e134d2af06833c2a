// SPDX-License-Identifier: GPL-2.0

//! The drivers' pure logic, compiled for the host: the very files that the modules are made of.
//!
//! `cargo test` runs the property tests; `RUSTFLAGS="--cfg loom" cargo test --release` the model
//! checks of what several CPUs do at once.

#![forbid(unsafe_code)]
// In the drivers' crates these types are not public.
#![allow(clippy::new_without_default)]

#[path = "../../../rust/xen/atomics.rs"]
pub mod atomics;
#[path = "../../../drivers/xen/balloon/backoff.rs"]
pub mod balloon_backoff;
#[path = "../../../drivers/xen/balloon/floor.rs"]
pub mod balloon_floor;
#[path = "../../../drivers/xen/balloon/parse.rs"]
pub mod balloon_parse;
#[path = "../../../rust/xen/domid.rs"]
pub mod domid;
#[path = "../../../rust/xen/event/debt.rs"]
pub mod event_debt;
#[path = "../../../drivers/xen/evtchn/ring.rs"]
pub mod evtchn_ring;
#[path = "../../../drivers/xen/evtchn/slot.rs"]
pub mod evtchn_slot;
#[path = "../../../rust/xen/ext/gauge.rs"]
pub mod ext_gauge;
#[path = "../../../rust/xen/ext/lent.rs"]
pub mod ext_lent;
#[path = "../../../rust/xen/ext/once.rs"]
pub mod ext_once;
pub mod forgotten;
#[path = "../../../drivers/xen/gntdev/offsets.rs"]
pub mod gntdev_offsets;
#[path = "../../../drivers/xen/gntdev/segment.rs"]
pub mod gntdev_segment;
#[path = "../../../drivers/xen/gntdev/usage.rs"]
pub mod gntdev_usage;
#[path = "../../../rust/xen/grant/slot.rs"]
pub mod grant_slot;
#[path = "../../../rust/xen/memory/map.rs"]
pub mod memory_map;
#[path = "../../../drivers/xen/privcmd/outcome.rs"]
pub mod privcmd_outcome;
#[path = "../../../rust/xen/range.rs"]
pub mod range;
#[path = "../../../rust/xen/restriction.rs"]
pub mod restriction;
