// SPDX-License-Identifier: GPL-2.0

//! A map's grants in the address space of a process.
//!
//! In a PV domain Xen writes the page table entries of user space, and has to take them back before
//! the kernel touches them: an MMU notifier tells when. The grants themselves are let go of when the
//! mapping is closed, or by a worker where it stays. A mapping is not inherited over fork there, and
//! cannot be moved. In a translated domain the grants are in pages, which are inserted as any others;
//! they are let go of when the last mapping of theirs is gone.
//!
//! In both, a page that somebody else still refers to at that time is let go of by a worker, as soon
//! as nobody does. Until then the module stays loaded.
//!
//! Lock order: the mmap lock before [`Mapping::life`]; a map's `notify` before the lock within
//! [`GrantPages`], and [`Mapping::wait`] before that too. All but the first two are taken by the MMU
//! notifier: no memory is allocated under them.

use super::{
    map::{
        Claim,
        Map, //
    },
    notify::Notify,
    QUEUE,
};
use core::ops::Range;
use kernel::{
    mm::virt::{
        VmaNew,
        VmaRef, //
    },
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::msecs_to_jiffies,
    workqueue::{
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
};
use xen::{
    domain,
    ext::{
        log,
        mmu_notifier::{
            Change,
            IntervalNotifier,
            Invalidate, //
        },
        module::ModuleRef,
        vma::{
            self,
            page_offset,
            MappingState,
            PageStruct,
            VmaTable, //
        },
    },
    grant::{
        Access,
        GrantPages,
        Mark,
        Release,
        UserPtes, //
    },
    restriction::Restriction,
    unpopulated::UnpopulatedPages, //
};

/// Tells the driver's mappings from all others.
pub(crate) static MAPPINGS: VmaTable<Mapping> = VmaTable::new();

/// After so many milliseconds what waits is tried again first; each time after that it is twice as
/// long.
const RETRY_MS: u32 = 5;

/// The longest time between tries, in milliseconds.
const RETRY_MAX_MS: u32 = 10_000;

/// After so many tries, which is some 20 seconds, the log says that something is still waited for.
const TRIES_TO_TELL: u32 = 12;

/// A map's grants in the address space of a process.
///
/// There is one for each mmap; all parts and copies of that mapping share it.
#[pin_data]
pub(crate) struct Mapping {
    claim: Claim,
    /// Where the mapping was made, in bytes.
    start: usize,
    #[pin]
    pages: GrantPages,
    #[pin]
    life: Mutex<Life>,
    #[pin]
    wait: Mutex<Wait>,
    #[pin]
    work: DelayedWork<Mapping>,
}

/// What there is as long as the mapping is in some address space.
struct Life {
    /// In how many parts and copies.
    parts: usize,
    /// What tells of changes (PV).
    notifier: Option<Pin<KBox<IntervalNotifier<Mapping>>>>,
}

/// What there is while grants wait for being let go of.
struct Wait {
    /// There is one as long as the work is queued.
    keep: Option<ModuleRef>,
    /// How often the work is queued: it can be once more while it is about to run.
    queued: u32,
    /// How often what waits has been tried in vain.
    tries: u32,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Mapping { self.work }
}

impl Mapping {
    fn new(
        claim: Claim,
        pages: UnpopulatedPages,
        ptes: Option<UserPtes>,
        start: usize,
    ) -> Result<Arc<Self>> {
        let pages = GrantPages::new(pages, ptes)?;
        Arc::pin_init(
            pin_init!(Self {
                claim,
                start,
                pages <- pages,
                life <- new_mutex!(
                    Life {
                        parts: 1,
                        notifier: None,
                    },
                    "gntdev::Mapping::life"
                ),
                wait <- new_mutex!(
                    Wait {
                        keep: None,
                        queued: 0,
                        tries: 0,
                    },
                    "gntdev::Mapping::wait"
                ),
                work <- new_delayed_work!("gntdev::Mapping::work"),
            }),
            GFP_KERNEL,
        )
    }

    /// Maps all grants of a map at a new mapping of the file.
    ///
    /// Runs during mmap, and changes nothing where it fails.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the map is mapped already, or Xen refuses one of its grants; `EPERM` when the
    /// file may not map a grant of that domain; `EINTR`; `ENOMEM`.
    pub(crate) fn establish(
        map: Arc<Map>,
        access: Access,
        restriction: &Restriction,
        vma: &VmaNew,
    ) -> Result {
        let claim = Claim::new(map, access)?;
        let ptes = if domain::is_pv() {
            Some(UserPtes::prepare(vma)?)
        } else {
            None
        };
        let pages = UnpopulatedPages::alloc_for_grants(claim.count())?;
        let this = Self::new(claim, pages, ptes, vma.start())?;

        // What the kernel does with a mapping by itself would be lost on grants: it can neither
        // make it larger, nor put it into a core dump.
        vma.set_mixedmap();
        vma.set_dontexpand();
        vma.set_dontdump();
        if domain::is_pv() {
            vma.set_dontcopy();
            vma::set_unmovable(vma);
            let notifier = IntervalNotifier::subscribe(vma, this.clone())?;
            this.life.lock().notifier = Some(notifier);
        }

        let all = 0..this.claim.count();
        match this.fill(access, restriction, vma) {
            Ok(()) => {
                this.claim.note(all.end, 0);
                MAPPINGS.install(vma, this);
                Ok(())
            }
            Err(e) => {
                if !domain::is_pv() {
                    vma.zap_vma_range(vma.start(), vma.end() - vma.start());
                }
                this.as_arc_borrow().release(all, false);
                let notifier = this.life.lock().notifier.take();
                drop(notifier);
                Err(e)
            }
        }
    }

    fn map_grants(&self, access: Access, restriction: &Restriction) -> Result {
        let grants = &self.claim.grants;
        match grants.right(restriction)? {
            Some(right) => {
                let refs = grants.references().iter();
                let grants = refs.map(|&reference| Ok((right, reference)));
                self.pages.map(access, grants)
            }
            None => self.pages.map(access, grants.each(restriction)),
        }
    }

    fn fill(&self, access: Access, restriction: &Restriction, vma: &VmaNew) -> Result {
        self.map_grants(access, restriction)?;
        if !domain::is_pv() {
            self.pages.insert(vma)?;
        }
        Ok(())
    }

    /// Maps all grants of a map into `pages` for the kernel alone, in a translated domain.
    ///
    /// The caller lets go of them by [`Mapping::end`].
    ///
    /// # Errors
    ///
    /// As [`Mapping::establish`].
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(crate) fn establish_for_kernel(
        map: Arc<Map>,
        pages: UnpopulatedPages,
        restriction: &Restriction,
    ) -> Result<Arc<Self>> {
        let claim = Claim::new(map, Access::ReadWrite)?;
        let this = Self::new(claim, pages, None, 0)?;
        if let Err(e) = this.map_grants(Access::ReadWrite, restriction) {
            this.as_arc_borrow().end();
            return Err(e);
        }
        this.claim.note(this.claim.count(), 0);
        Ok(this)
    }

    /// Lets go of all grants.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(crate) fn end(self: ArcBorrow<'_, Self>) {
        self.release(0..self.claim.count(), false);
    }

    /// The pages that the grants are in.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(crate) fn pages(&self) -> &GrantPages {
        &self.pages
    }

    /// The map.
    pub(crate) fn map(&self) -> &Map {
        &self.claim
    }

    /// Lets go of some of the grants, which nobody can find in user space's page tables any more.
    /// With `unless_mapped`, not of those that can be.
    fn release(self: ArcBorrow<'_, Self>, pages: Range<usize>, unless_mapped: bool) {
        let release = self.notifying(|mark| self.pages.release(pages, unless_mapped, mark));
        if release.left {
            self.wait_for_rest();
        }
    }

    /// Does something that unmaps pages, and what is to be done when one of them is.
    fn notifying(&self, unmap: impl FnOnce(Option<Mark>) -> Release) -> Release {
        let mut notify = self.claim.notify();
        let release = unmap(notify.as_ref().and_then(Notify::mark));
        if let (Some(notify), true) = (&mut **notify, release.marked) {
            notify.fire();
        }
        drop(notify);
        self.claim.note(release.held, release.waiting);
        release
    }

    /// Has the worker try again, soon at first, as something has come to wait.
    fn wait_for_rest(self: ArcBorrow<'_, Self>) {
        let mut wait = self.wait.lock();
        if wait.keep.is_none() {
            wait.keep = Some(ModuleRef::get());
        }
        wait.tries = 0;
        if QUEUE.enqueue_anew(Arc::from(self), msecs_to_jiffies(RETRY_MS)) {
            wait.queued += 1;
        }
    }

    /// The pages of the map that `vma` is a mapping of.
    fn pages_of(&self, vma: &VmaRef) -> Range<usize> {
        // Both count pages, and the first is not less than the second.
        let first = page_offset(vma).saturating_sub(self.claim.index() as usize);
        first..first.saturating_add((vma.end() - vma.start()) >> PAGE_SHIFT)
    }
}

impl WorkItem for Mapping {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let mut wait = this.wait.lock();
        wait.queued = wait.queued.saturating_sub(1);
        let release = this.pages.drain();
        this.claim.note(release.held, release.waiting);
        if wait.queued != 0 {
            return;
        }
        if release.waiting == 0 {
            let keep = wait.keep.take();
            drop(wait);
            // The module's work queue waits for this item, hence for what comes after this, when
            // the module goes.
            drop(keep);
            return;
        }
        wait.tries = wait.tries.saturating_add(1);
        if wait.tries == TRIES_TO_TELL && log::may_tell() {
            pr_warn!(
                "{} grants cannot be unmapped yet ({} refusals by Xen); the module stays until they are\n",
                release.waiting,
                this.pages.refused()
            );
        }
        let delay = RETRY_MS
            .checked_shl(wait.tries)
            .map_or(RETRY_MAX_MS, |delay| delay.min(RETRY_MAX_MS));
        if QUEUE.enqueue_anew(this.clone(), msecs_to_jiffies(delay)) {
            wait.queued += 1;
        }
    }
}

impl Invalidate for Mapping {
    fn invalidate(self: ArcBorrow<'_, Self>, addresses: Range<usize>, change: Change) {
        let page = |address: usize| address.saturating_sub(self.start) >> PAGE_SHIFT;
        let end = addresses.end.saturating_add(PAGE_SIZE - 1);
        let pages = page(addresses.start)..page(end);
        let release = self.notifying(|mark| self.pages.detach(pages, mark));
        // What goes is let go of when it is closed.
        if release.left && change == Change::Discarded {
            self.wait_for_rest();
        }
    }
}

impl MappingState for Mapping {
    fn opened(self: ArcBorrow<'_, Self>, _vma: &VmaRef) {
        self.life.lock().parts += 1;
    }

    fn closed(self: ArcBorrow<'_, Self>, vma: &VmaRef) {
        let mut life = self.life.lock();
        life.parts = life.parts.saturating_sub(1);
        let last = life.parts == 0;
        let notifier = if last { life.notifier.take() } else { None };
        drop(life);
        // Waits for invalidations that are under way.
        drop(notifier);

        if last {
            self.release(0..self.claim.count(), false);
        } else {
            // Another process, or the place that this part has been moved to, may have the pages.
            self.release(self.pages_of(vma), true);
        }
    }

    fn may_protect(self: ArcBorrow<'_, Self>, _vma: &VmaRef) -> Result {
        // In a PV domain the entries are Xen's: the kernel can only remove them.
        if domain::is_pv() {
            return Err(EINVAL);
        }
        Ok(())
    }

    const HAS_NORMAL_PAGES: bool = true;

    fn normal_page(self: ArcBorrow<'_, Self>, vma: &VmaRef, address: usize) -> *mut PageStruct {
        let offset = address.saturating_sub(vma.start()) >> PAGE_SHIFT;
        self.pages
            .page(self.pages_of(vma).start.saturating_add(offset))
    }
}
