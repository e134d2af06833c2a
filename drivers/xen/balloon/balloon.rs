// SPDX-License-Identifier: GPL-2.0

//! The balloon: how much memory this domain has, by the files of
//! `/sys/devices/system/xen_memory/xen_memory0` and by xenstore's `memory/target`.
//!
//! The kernel's own balloon, `drivers/xen/balloon.c`, is there even where its interface is left
//! out. What it could do for us is to make for a target, 2 MiB at a time and page by page, without
//! clearing the pages; [`xen::memory`] tells why its thread is kept idle, and how both agree on who
//! has which page. So this driver makes for its target itself: clearing pages as they are
//! allocated, by blocks that Xen can handle as one, and with an account of refusals that can be
//! seen.
//!
//! | file | what it is |
//! |---|---|
//! | `target_kb`, `target` | how much memory the domain is to have, in KiB and in bytes |
//! | `floor_kb` | the lowest target that is accepted, in KiB |
//! | `info/current_kb` | how much it has |
//! | `info/low_kb`, `info/high_kb` | how much it could have besides |
//! | `schedule_delay`, `retry_count` | seconds to the next attempt where one is refused, and which attempt it is |
//! | `max_schedule_delay`, `max_retry_count` | their limits; no limit of attempts is 0 |
//! | `scrub_pages` | whether pages are cleared before they go |
//!
//! `target`, `target_kb` and `info/current_kb` can be polled: they wake when the target is reached,
//! and when it is given up.

#![deny(unsafe_code)]

use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};
use xen::{
    counters,
    domain,
    ext::{
        counters::Counters,
        sysfs::{
            Device,
            Events, //
        },
        work::Worker, //
    },
    memory,
    store::Ready, //
};

mod attributes;
mod inflate;
mod target;

// Public for nobody but the tests, which include these files.
pub mod backoff;
pub mod floor;
pub mod parse;

use inflate::Balloon;
use target::TargetWatch;

module! {
    type: BalloonModule,
    name: "xen_balloon",
    authors: ["The Xen drivers in Rust"],
    description: "How much memory this Xen domain has",
    license: "GPL",
}

counters! {
    /// What the balloon does.
    pub(crate) enum Call, pub(crate) static CALLS {
        /// A target was set by a file.
        SetTarget = "set_target",
        /// A target came from xenstore.
        StoreTarget = "store_target",
        /// Pages were given to Xen, 2 MiB at most.
        Give = "give",
        /// Pages were taken from Xen, 2 MiB at most.
        Take = "take",
        /// Xen or the kernel had no page.
        Refused = "refused",
    }
}

#[pin_data]
struct BalloonModule {
    // In the order in which they go: who calls goes before who is called.
    #[pin]
    _watch: Ready<TargetWatch>,
    #[pin]
    _device: Device<Worker<Balloon>>,
    _worker: Arc<Worker<Balloon>>,
    #[pin]
    _counters: debugfs::File<&'static Counters<Call>>,
    _debugfs: debugfs::Dir,
}

impl kernel::InPlaceModule for BalloonModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            domain::require_xen()?;
            if memory::has_builtin_interface() {
                pr_err!("this kernel has its balloon interface built in (CONFIG_XEN_BALLOON): nothing to do for a module\n");
                return Err(EBUSY);
            }
            let dir = debugfs::Dir::new(c"xen_balloon");
            let events = Arc::pin_init(Events::new(), GFP_KERNEL)?;
            let worker = Arc::pin_init(
                Worker::new(c"xen-balloon", Balloon::new(events.clone())?),
                GFP_KERNEL,
            )?;
            Ok(try_pin_init!(Self {
                _device <- Device::register(
                    c"xen_memory",
                    attributes::GROUPS,
                    worker.clone(),
                    events,
                ),
                _watch <- Ready::register(TargetWatch::new(worker.clone())?),
                _worker: worker,
                _counters <- CALLS.debugfs(&dir),
                _debugfs: dir,
            }? Error))
        })
    }
}
