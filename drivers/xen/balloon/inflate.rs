// SPDX-License-Identifier: GPL-2.0

//! Making for the target.

use crate::{
    backoff::{
        Backoff,
        Next, //
    },
    floor,
    Call,
    CALLS, //
};
use core::{
    cmp,
    sync::atomic::{
        AtomicBool,
        AtomicUsize,
        Ordering, //
    },
};
use kernel::{
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};
use xen::{
    ext::{
        sysfs::Events,
        task,
        work::Job, //
    },
    memory::{
        self,
        stats,
        Reservoir,
        BLOCK_PAGES, //
    },
};

/// Blocks that are given or taken in one go, before the work is queued again: the system can be
/// suspended in between.
const BLOCKS_AT_ONCE: usize = 32;

/// Milliseconds from one look for added memory that has been brought online to the next.
const ONLINE_CHECK: u32 = 1000;

/// The balloon's state. All figures are in pages.
pub(crate) struct Balloon {
    /// How much the domain is to have.
    target: AtomicUsize,
    /// The lowest target that is accepted.
    floor: AtomicUsize,
    /// Whether pages are cleared before they are given away.
    scrub: AtomicBool,
    /// Pages in the reservoir, for those who do not want to wait for its lock. Pages that are on their
    /// way are counted: here before they are missing in the kernel's figure, and until they are back
    /// there.
    ballooned: AtomicUsize,
    /// Whether memory can be added to what the kernel knows of.
    can_grow: bool,
    /// A new target was set, so what was refused before counts no more.
    renewed: AtomicBool,
    work: Pin<KBox<Mutex<Work>>>,
    events: Arc<Events>,
}

struct Work {
    reservoir: Reservoir,
    backoff: Backoff,
}

impl Balloon {
    /// The balloon as the kernel has it, making for what the kernel makes for.
    pub(crate) fn new(events: Arc<Events>) -> Result<Self> {
        let reservoir = Reservoir::new()?;
        let (ballooned, can_grow) = (reservoir.len(), reservoir.can_grow());
        let this = Self {
            target: AtomicUsize::new(stats::target_pages()),
            floor: AtomicUsize::new(0),
            scrub: AtomicBool::new(true),
            ballooned: AtomicUsize::new(ballooned),
            can_grow,
            renewed: AtomicBool::new(false),
            work: KBox::pin_init(
                new_mutex!(Work {
                    reservoir,
                    backoff: Backoff::new(),
                }),
                GFP_KERNEL,
            )?,
            events,
        };
        // Of the memory that the kernel has made its tables for; what is added later brings its own,
        // and would make for another floor each time the module is loaded.
        let floor = floor::default_floor(kib_from_pages(stats::total_pages()) / 4);
        this.set_floor(pages_from_kib(floor * 4));
        Ok(this)
    }

    pub(crate) fn target(&self) -> usize {
        self.target.load(Ordering::Relaxed)
    }

    pub(crate) fn floor(&self) -> usize {
        self.floor.load(Ordering::Relaxed)
    }

    pub(crate) fn set_floor(&self, pages: usize) {
        self.floor.store(pages, Ordering::Relaxed);
    }

    pub(crate) fn scrub(&self) -> bool {
        self.scrub.load(Ordering::Relaxed)
    }

    pub(crate) fn set_scrub(&self, on: bool) {
        self.scrub.store(on, Ordering::Relaxed);
    }

    /// Pages that the domain could have besides those that it has.
    pub(crate) fn ballooned(&self) -> usize {
        self.ballooned
            .load(Ordering::Relaxed)
            .saturating_add(stats::balloon_low())
    }

    /// The highest target that can be reached without adding memory.
    fn reachable(&self) -> usize {
        // On either side, as pages may move meanwhile: it is better to count them twice, and to find
        // out later that there are none, than to refuse a target because of pages on their way.
        let before = self.ballooned.load(Ordering::Acquire);
        let current = stats::current_pages();
        let after = self.ballooned.load(Ordering::Acquire);
        current.saturating_add(before.max(after))
    }

    /// The highest target that is accepted: what Xen lets the domain have, where memory can be added.
    pub(crate) fn limit(&self) -> usize {
        let reachable = self.reachable();
        if self.can_grow {
            reachable.max(memory::maximum_pages())
        } else {
            reachable
        }
    }

    /// Sets a target that is known to be in range. The worker is to be kicked afterwards.
    pub(crate) fn set_target(&self, pages: usize) {
        self.target.store(pages, Ordering::Relaxed);
        self.renewed.store(true, Ordering::Release);
    }

    /// Gives or takes a block or less. Says whether the target is reached.
    fn step(&self, reservoir: &mut Reservoir) -> Result<bool> {
        let moved = self.move_pages(reservoir);
        self.ballooned.store(reservoir.len(), Ordering::Release);
        moved?;
        Ok(stats::current_pages() == self.target())
    }

    /// Gives or takes a block or less.
    fn move_pages(&self, reservoir: &mut Reservoir) -> Result {
        let target = self.target();
        let current = stats::current_pages();
        match current.cmp(&target) {
            cmp::Ordering::Greater => {
                CALLS.inc(Call::Give);
                let spare = memory::available_pages();
                if spare == 0 {
                    return Err(ENOMEM);
                }
                let want = (current - target).min(spare).min(BLOCK_PAGES);
                self.ballooned
                    .store(reservoir.len().saturating_add(want), Ordering::Release);
                reservoir.give(want, self.scrub())?;
            }
            cmp::Ordering::Less => {
                if reservoir.is_empty() {
                    reservoir.grow(target - current)?;
                }
                CALLS.inc(Call::Take);
                reservoir.take(target - current)?;
            }
            cmp::Ordering::Equal => {}
        }
        Ok(())
    }

    fn tell(&self) {
        self.events.notify(None, c"target_kb");
        self.events.notify(None, c"target");
        self.events.notify(Some(c"info"), c"current_kb");
    }

    fn show_backoff(backoff: &Backoff) {
        stats::set_schedule_delay(backoff.delay() as usize);
        stats::set_retry_count(backoff.attempt() as usize);
    }
}

impl Job for Balloon {
    fn run(&self) -> Option<u32> {
        let mut work = self.work.lock();
        let Work { reservoir, backoff } = &mut *work;

        if self.renewed.swap(false, Ordering::Acquire) {
            *backoff = Backoff::new();
            Self::show_backoff(backoff);
        }
        for _ in 0..BLOCKS_AT_ONCE {
            task::yield_now();
            match self.step(reservoir) {
                Ok(reached) => {
                    *backoff = Backoff::new();
                    if reached {
                        Self::show_backoff(backoff);
                        self.tell();
                        return None;
                    }
                }
                Err(EAGAIN) => {
                    Self::show_backoff(backoff);
                    return Some(ONLINE_CHECK);
                }
                Err(ENOENT) => {
                    // There are no more pages to put memory behind: this is as far as it goes.
                    let target = self.target();
                    let _ = self.target.compare_exchange(
                        target,
                        stats::current_pages(),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    self.tell();
                    return None;
                }
                Err(_) => {
                    CALLS.inc(Call::Refused);
                    let next = backoff.refused(
                        u32::try_from(stats::max_schedule_delay()).unwrap_or(u32::MAX),
                        u32::try_from(stats::max_retry_count()).unwrap_or(u32::MAX),
                    );
                    Self::show_backoff(backoff);
                    return match next {
                        Next::After(seconds) => Some(seconds.saturating_mul(1000)),
                        Next::GiveUp => {
                            self.tell();
                            None
                        }
                    };
                }
            }
        }
        Self::show_backoff(backoff);
        Some(0)
    }
}

/// KiB of a number of pages.
pub(crate) fn kib_from_pages(pages: usize) -> u64 {
    (pages as u64) << (PAGE_SHIFT - 10)
}

/// Whole pages of a number of KiB.
pub(crate) fn pages_from_kib(kib: u64) -> usize {
    usize::try_from(kib >> (PAGE_SHIFT - 10)).unwrap_or(usize::MAX)
}
