// SPDX-License-Identifier: GPL-2.0

//! The target in xenstore, `memory/target`, which is how the toolstack sets it.

use crate::{
    inflate::{
        pages_from_kib,
        Balloon, //
    },
    Call,
    CALLS, //
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};
use xen::{
    domain,
    ext::work::Worker,
    memory::{
        self,
        stats, //
    },
    store::{
        self,
        OnChange,
        OnReady,
        Watch, //
    },
};

/// A watch that is set.
type SetWatch = Pin<KBox<Watch<Target>>>;

/// Sets the watch once there is a xenstore.
pub(crate) struct TargetWatch {
    worker: Arc<Worker<Balloon>>,
    watch: Pin<KBox<Mutex<Option<SetWatch>>>>,
}

impl TargetWatch {
    pub(crate) fn new(worker: Arc<Worker<Balloon>>) -> Result<Self> {
        Ok(Self {
            worker,
            watch: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
        })
    }

    fn set(&self) -> Result {
        let target = Target {
            worker: self.worker.clone(),
            offset: KBox::pin_init(new_mutex!(None), GFP_KERNEL)?,
        };
        let watch = KBox::pin_init(Watch::register(c"memory/target", target), GFP_KERNEL)?;
        *self.watch.lock() = Some(watch);
        Ok(())
    }
}

impl OnReady for TargetWatch {
    fn ready(&self) {
        if let Err(e) = self.set() {
            pr_err!("cannot watch memory/target in xenstore: {e:?}\n");
        }
    }
}

/// Follows the key.
pub(crate) struct Target {
    worker: Arc<Worker<Balloon>>,
    /// What the toolstack's targets are more than ours, in pages; not known before the first one.
    offset: Pin<KBox<Mutex<Option<isize>>>>,
}

impl Target {
    /// What the toolstack's targets are more than ours.
    ///
    /// It counts what it gave to the domain, and that of a domain that has its firmware and video
    /// memory put into its address space is more than what the kernel has seen as memory.
    ///
    /// That is so from the start, and stays so, whenever the module is loaded: so it is not to be
    /// had from the kernel's present figures, which follow the targets, nor from `static-max`,
    /// which follows `xl mem-max`.
    fn offset() -> isize {
        if domain::is_pv() || domain::is_initial() {
            return 0;
        }
        Self::given().map_or(0, |pages| pages.wrapping_sub(stats::total_pages()) as isize)
    }

    /// How many pages the toolstack gave to the domain, its video memory included. Where Xen has not
    /// been told, what the toolstack says now has to do.
    fn given() -> Result<usize> {
        memory::initial_pages()
            .map(|pages| {
                let video = store::read_u64(c"memory", c"videoram").unwrap_or(0);
                pages.saturating_add(pages_from_kib(video))
            })
            .or_else(|_| {
                store::read_u64(c"memory", c"static-max")
                    .or_else(|_| store::read_u64(c"memory", c"memory_static_max"))
                    .map(pages_from_kib)
            })
    }
}

impl OnChange for Target {
    fn changed(&self) {
        // No target is fine: the initial domain need not have one.
        let Ok(kib) = store::read_u64(c"memory", c"target") else {
            return;
        };
        let offset = *self.offset.lock().get_or_insert_with(Self::offset);
        let balloon = self.worker.job();
        let asked = i128::from(kib >> (kernel::page::PAGE_SHIFT - 10)) - offset as i128;
        // There is nobody to tell that a target is out of range.
        let pages = usize::try_from(asked)
            .unwrap_or(if asked < 0 { 0 } else { usize::MAX })
            .max(balloon.floor());
        if asked < pages as i128 {
            pr_warn!("memory/target asks for less than the floor: making for that\n");
        }
        CALLS.inc(Call::StoreTarget);
        balloon.set_target(pages);
        self.worker.kick();
    }
}
