// SPDX-License-Identifier: GPL-2.0

//! What the ranges of one open file hold, for whoever looks into `/proc/<pid>/fdinfo`.

use crate::domid::DomId;
use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
};

struct Line {
    domain: DomId,
    frames: usize,
}

/// How many ranges there are, and how many frames they have of each domain.
#[pin_data]
pub struct Ledger {
    ranges: AtomicUsize,
    /// One line for each domain that there have been frames of. They are few: it takes a domain
    /// that exists to make one.
    #[pin]
    lines: Mutex<KVec<Line>>,
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                ranges: AtomicUsize::new(0),
                lines <- new_mutex!(KVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// How many ranges there are.
    pub fn ranges(&self) -> usize {
        self.ranges.load(Ordering::Relaxed)
    }

    /// Calls `show` with each domain that frames are mapped of, and their number. Sleeps.
    pub fn each(&self, mut show: impl FnMut(DomId, usize)) {
        for line in self.lines.lock().iter().filter(|line| line.frames != 0) {
            show(line.domain, line.frames);
        }
    }

    pub(super) fn range_made(&self) {
        self.ranges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn range_gone(&self) {
        self.ranges.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts `frames` more of `domain`, and tells whether there was memory for that. Sleeps.
    pub(super) fn add(&self, domain: DomId, frames: usize) -> bool {
        let mut lines = self.lines.lock();
        if let Some(line) = lines.iter_mut().find(|line| line.domain == domain) {
            line.frames = line.frames.saturating_add(frames);
            return true;
        }
        // A line whose frames are all gone can serve another domain.
        if let Some(line) = lines.iter_mut().find(|line| line.frames == 0) {
            *line = Line { domain, frames };
            return true;
        }
        lines.push(Line { domain, frames }, GFP_KERNEL).is_ok()
    }

    /// Takes `frames` of `domain` off again. Sleeps.
    pub(super) fn remove(&self, domain: DomId, frames: usize) {
        if frames == 0 {
            return;
        }
        let mut lines = self.lines.lock();
        if let Some(line) = lines.iter_mut().find(|line| line.domain == domain) {
            line.frames = line.frames.saturating_sub(frames);
        }
    }
}
