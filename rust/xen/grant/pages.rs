// SPDX-License-Identifier: GPL-2.0

//! Pages with grants mapped into them.

use super::{
    slot::Slot,
    Access,
    Handle,
    MapBatch,
    Ref,
    UnmapBatch,
    UserPtes,
    UNMAP_BATCH, //
};
use crate::{
    bindings, domain,
    ext::{
        few::Few,
        pages::PageStruct,
        task, //
    },
    restriction::Authorised,
    unpopulated::UnpopulatedPages,
};
use core::ops::Range;
use kernel::{
    error::to_result,
    mm::virt::VmaNew,
    prelude::*,
    sync::{
        new_mutex,
        Mutex, //
    },
};

/// A byte of one of the pages, or just the page.
#[derive(Copy, Clone)]
pub struct Mark {
    /// The page.
    pub index: usize,
    /// The byte in it that is to be cleared, if one is.
    pub clear: Option<usize>,
}

/// What [`GrantPages::release`] and others have done.
#[derive(Copy, Clone)]
pub struct Release {
    /// Whether the marked page was in use until now.
    pub marked: bool,
    /// Whether something of what was asked for waits now.
    pub left: bool,
    /// How many of all the pages have a grant in them.
    pub held: usize,
    /// How many of those are to be let go of, and are waited for.
    pub waiting: usize,
}

/// Pages with grants mapped into them.
///
/// In a PV domain each grant is mapped twice: in the page, where the kernel sees it, and in a page
/// table entry of user space. The second goes at once when it must, before the page table does; the
/// first goes when nobody refers to the page any more. In a translated domain there is only the
/// first, and user space's page tables refer to the page as usual.
///
/// Through the second somebody may be about to take a reference to the page, under the lock of the
/// page table. So the first goes after all who might do so are known to be done: because the mapping
/// was closed, or after a grace period of RCU, as that lock is a reader.
///
/// Each page is let go of for itself: those that somebody still refers to delay no others.
///
/// Dropping it returns the pages. Those that Xen still holds a grant in are kept for ever instead;
/// whoever wants to see none lost calls [`GrantPages::drain`] until nothing waits.
#[pin_data(PinnedDrop)]
pub struct GrantPages {
    pages: UnpopulatedPages,
    #[pin]
    slots: Mutex<Slots>,
}

/// The mappings. Taken by MMU notifiers: no memory is allocated while it is locked.
struct Slots {
    entries: Few<Entry>,
    /// Where the page table entries of user space are (PV).
    ptes: Option<UserPtes>,
    /// No entry that waits is outside of this.
    retiring: Range<usize>,
    /// How many entries have a grant in the page.
    held: usize,
    /// How many entries have one in a page table entry of user space.
    in_user: usize,
    /// Whether some have left those of late, so that somebody may still be looking at them.
    fresh: bool,
    /// How many entries wait for being let go of.
    waiting: usize,
    /// How many unmappings Xen has refused, in all.
    refused: usize,
    /// Whether Xen has refused to map some of the grants.
    partial: bool,
}

/// The mappings of one grant.
struct Entry {
    /// In the page.
    page: Slot<Handle>,
    /// In the page table entry of user space (PV).
    user: Slot<Handle>,
}

impl Entry {
    const FREE: Self = Self {
        page: Slot::Free,
        user: Slot::Free,
    };

    /// Whether something of it is to be unmapped.
    #[inline]
    fn waits(&self) -> bool {
        self.page.is_retiring() || self.user.is_retiring()
    }
}

impl GrantPages {
    /// Takes pages that are made for grants, to have grants mapped into them and, if `ptes` are
    /// given, into these page table entries.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` in a PV domain without page table entries, or in another with them.
    pub fn new(pages: UnpopulatedPages, ptes: Option<UserPtes>) -> Result<impl PinInit<Self>> {
        let count = pages.len();
        if ptes.is_some() != domain::is_pv() {
            return Err(EINVAL);
        }
        let entries = Few::from_fn(count, || Entry::FREE)?;
        let slots = Slots {
            entries,
            ptes,
            retiring: 0..0,
            held: 0,
            in_user: 0,
            fresh: false,
            waiting: 0,
            refused: 0,
            partial: false,
        };
        Ok(pin_init!(Self {
            pages,
            slots <- new_mutex!(slots, "GrantPages::slots"),
        }))
    }

    /// How many pages there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Page `index`, or null. Needs no lock.
    #[inline]
    pub fn page(&self, index: usize) -> *mut PageStruct {
        self.pages
            .page(index)
            .map_or(core::ptr::null_mut(), |page| page.as_ptr())
    }

    /// Maps a grant into each page: the one that `grant` names for it.
    ///
    /// Stops at the first grants that Xen refuses. What has been mapped by then stays mapped: the
    /// caller releases it. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when Xen refuses a grant, `EINTR` when a fatal signal is pending, and what `grant`
    /// says.
    pub fn map<'a>(
        &self,
        access: Access,
        mut grant: impl FnMut(usize) -> Result<(Authorised<'a>, Ref)>,
    ) -> Result {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let mut batch = MapBatch::new(slots.ptes.is_some());
        let mut first = 0;
        let mut result = Ok(());

        for index in 0..self.pages.len() {
            let (right, reference) = match grant(index) {
                Ok(grant) => grant,
                Err(e) => {
                    result = Err(e);
                    break;
                }
            };
            let page = self.pages.target(index).ok_or(EINVAL)?;
            let pte = slots.ptes.as_ref().and_then(|ptes| ptes.address(index));
            batch.push(right, reference, access, page, pte)?;
            if batch.is_full() {
                slots.submit(&mut batch, first)?;
                first = index + 1;
                task::checkpoint()?;
            }
        }
        slots.submit(&mut batch, first).and(result)
    }

    /// Inserts the pages into a new mapping of as many pages, of user space in a translated domain.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the sizes differ, `ENOMEM`.
    pub fn insert(&self, vma: &VmaNew) -> Result {
        let count = self.pages.len();
        if (vma.end() - vma.start()) >> kernel::page::PAGE_SHIFT != count {
            return Err(EINVAL);
        }
        vma.set_mixedmap();
        let mut left = count;
        // SAFETY: The mapping is being set up and may have pages inserted. The array has `count`
        // valid pages, which the function only reads.
        to_result(unsafe {
            bindings::vm_insert_pages(
                vma.as_ptr(),
                vma.start(),
                self.pages.as_ptr().cast_mut(),
                &mut left,
            )
        })
    }

    /// Takes the grants of the pages in `range` out of user space's page table entries (PV), while
    /// others may still be looking at these. They are gone when this returns.
    ///
    /// The pages wait for [`GrantPages::release`] or [`GrantPages::drain`]. If that of `mark` is one
    /// of them, its byte is cleared. Allocates nothing; may sleep.
    pub fn detach(&self, range: Range<usize>, mark: Option<Mark>) -> Release {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let range = slots.within(range);
        let mark = mark.filter(|mark| range.contains(&mark.index) && slots.is_mapped(mark.index));
        let left = in_batches(range, |batch| slots.detach_batch(batch, &|_| true));
        slots.fresh = true;
        if let Some(mark) = mark {
            self.clear(mark);
        }
        slots.report(mark.is_some(), left)
    }

    /// Lets go of the grants of the pages in `range`, which nobody can get hold of any more who has
    /// not by now.
    ///
    /// Those of pages that somebody still refers to wait for [`GrantPages::drain`]. With
    /// `unless_mapped`, pages that are in user space's page tables are left as they are.
    ///
    /// If the page of `mark` is one of them, its byte is cleared first. Allocates nothing; may
    /// sleep.
    pub fn release(&self, range: Range<usize>, unless_mapped: bool, mark: Option<Mark>) -> Release {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let range = slots.within(range);
        let stays = |index| unless_mapped && self.pages.is_mapped(index);
        let mark = mark.filter(|mark| {
            range.contains(&mark.index) && slots.is_mapped(mark.index) && !stays(mark.index)
        });
        if let Some(mark) = mark {
            self.clear(mark);
        }
        let left = in_batches(range, |batch| {
            slots.let_go_batch(&self.pages, batch, &|index| !stays(index))
        });
        slots.report(mark.is_some(), left)
    }

    /// Tries again to let go of what waits. Allocates nothing; may sleep.
    pub fn drain(&self) -> Release {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        if core::mem::take(&mut slots.fresh) {
            task::synchronize_rcu();
        }
        let range = core::mem::replace(&mut slots.retiring, 0..0);
        let left = in_batches(range, |batch| {
            slots.let_go_batch(&self.pages, batch, &|_| false)
        });
        slots.report(false, left)
    }

    fn clear(&self, mark: Mark) {
        if let Some(offset) = mark.clear {
            self.pages.clear_byte(mark.index, offset);
        }
    }

    /// How often Xen has refused to unmap a grant.
    pub fn refused(&self) -> usize {
        self.slots.lock().refused
    }
}

/// Does something with each batch of a range, and lets others run in between. Returns whether it was
/// true for any of them.
#[inline]
fn in_batches(range: Range<usize>, mut each: impl FnMut(Range<usize>) -> bool) -> bool {
    let mut any = false;
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + UNMAP_BATCH);
        any |= each(start..end);
        start = end;
        if start < range.end {
            task::yield_now();
        }
    }
    any
}

impl Slots {
    fn report(&self, marked: bool, left: bool) -> Release {
        Release {
            marked,
            left,
            held: self.held,
            waiting: self.waiting,
        }
    }

    /// The part of a range that there is.
    fn within(&self, range: Range<usize>) -> Range<usize> {
        let end = range.end.min(self.entries.len());
        range.start.min(end)..end
    }

    /// Whether the grant of page `index` is mapped, and nobody has asked for its end.
    fn is_mapped(&self, index: usize) -> bool {
        self.entries
            .get(index)
            .is_some_and(|entry| entry.page.is_mapped())
    }

    /// Asks Xen to map a batch, whose first grant is that of page `first`.
    fn submit(&mut self, batch: &mut MapBatch, first: usize) -> Result {
        let mut result = Ok(());
        let user_too = self.ptes.is_some();
        let held = &mut self.held;
        let in_user = &mut self.in_user;
        let partial = &mut self.partial;
        let mut entries = self.entries.iter_mut().skip(first);
        batch.submit(|mapped| {
            if mapped.page.is_none() || (user_too && mapped.user.is_none()) {
                *partial = true;
                result = Err(EINVAL);
            }
            let Some(entry) = entries.next() else {
                return;
            };
            // A slot that is not free cannot be: the pages are mapped into once.
            if let Some(handle) = mapped.page {
                *held += usize::from(entry.page.occupy(handle).is_ok());
            }
            if let Some(handle) = mapped.user {
                *in_user += usize::from(entry.user.occupy(handle).is_ok());
            }
        });
        result
    }

    /// Takes grants out of user space's page table entries: those of the batch `range` for which
    /// `retire` says so, and those that wait for it. Returns whether something of the batch waits.
    #[inline]
    fn detach_batch(&mut self, range: Range<usize>, retire: &impl Fn(usize) -> bool) -> bool {
        let Some(entries) = self.entries.get_mut(range.clone()) else {
            return false;
        };
        let mut batch = UnmapBatch::new();
        let mut waiting = 0usize;
        for (at, entry) in entries.iter_mut().enumerate() {
            let index = range.start + at;
            let waited = entry.waits();
            if retire(index) {
                entry.user.retire();
                entry.page.retire();
            }
            if !entry.waits() {
                continue;
            }
            waiting += 1;
            self.waiting += usize::from(!waited);
            let Some(handle) = entry.user.begin() else {
                continue;
            };
            let pte = self.ptes.as_ref().and_then(|ptes| ptes.address(index));
            let added = match pte {
                Some(pte) => batch.add(pte.0, core::ptr::null_mut(), at, handle),
                None => Err(handle),
            };
            if let Err(handle) = added {
                entry.user.settle(Err(handle));
            }
        }
        let (in_user, refused) = (&mut self.in_user, &mut self.refused);
        let total = &mut self.waiting;
        batch.submit_user(|at, answer| {
            *refused += usize::from(answer.is_err());
            let Some(entry) = entries.get_mut(at) else {
                return;
            };
            if entry.user.settle(answer) {
                *in_user = in_user.saturating_sub(1);
                // Where Xen had mapped only this half.
                if !entry.waits() {
                    waiting = waiting.saturating_sub(1);
                    *total = total.saturating_sub(1);
                }
            }
        });
        if waiting != 0 {
            self.note_waiting(range);
        }
        waiting != 0
    }

    /// Lets go of the grants in the batch `range` for which `retire` says so, and of those that wait,
    /// as far as that can be. Returns whether something of the batch waits still.
    #[inline]
    fn let_go_batch(
        &mut self,
        pages: &UnpopulatedPages,
        range: Range<usize>,
        retire: &impl Fn(usize) -> bool,
    ) -> bool {
        // User space's page table entries go first: as long as there is one somebody may get hold of
        // the page. Most of the time they are gone already.
        if self.in_user != 0 {
            self.detach_batch(range.clone(), retire);
        }
        let Some(entries) = self.entries.get_mut(range.clone()) else {
            return false;
        };
        let mut batch = UnmapBatch::new();
        let mut left = 0usize;
        for (at, entry) in entries.iter_mut().enumerate() {
            let index = range.start + at;
            if retire(index) && entry.page.retire() {
                self.waiting += 1;
            }
            if !entry.waits() {
                continue;
            }
            left += 1;
            if !entry.user.is_free() || pages.is_shared(index) {
                continue;
            }
            let (Some(target), Some(handle)) = (pages.target(index), entry.page.begin()) else {
                continue;
            };
            if let Err(handle) = batch.add(target.host_addr, target.page, at, handle) {
                entry.page.settle(Err(handle));
            }
        }
        let (held, refused) = (&mut self.held, &mut self.refused);
        let total = &mut self.waiting;
        batch.submit_pages(|at, answer| {
            *refused += usize::from(answer.is_err());
            let Some(entry) = entries.get_mut(at) else {
                return;
            };
            if entry.page.settle(answer) {
                left = left.saturating_sub(1);
                *held = held.saturating_sub(1);
                *total = total.saturating_sub(1);
            }
        });
        if left != 0 {
            self.note_waiting(range);
        } else if self.waiting == 0 {
            self.retiring = 0..0;
        }
        left != 0
    }

    /// Takes note that something in `range` waits.
    fn note_waiting(&mut self, range: Range<usize>) {
        self.retiring = if self.retiring.is_empty() {
            range
        } else {
            self.retiring.start.min(range.start)..self.retiring.end.max(range.end)
        };
    }
}

#[pinned_drop]
impl PinnedDrop for GrantPages {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let slots = this.slots.lock();
        if slots.partial {
            // A mapping of which only one half succeeded leaves the mark of a foreign page.
            this.pages.clear_foreign();
        }
        for (index, entry) in slots.entries.iter().enumerate() {
            if !entry.page.is_free() || !entry.user.is_free() {
                this.pages.keep(index);
            }
        }
    }
}

#[cfg(CONFIG_DMA_SHARED_BUFFER)]
// SAFETY: The pages do not change, and are given back when the value is dropped. `keep` leaves null
// pointers only then.
unsafe impl crate::ext::dma_buf::PageSource for GrantPages {
    fn count(&self) -> usize {
        self.pages.len()
    }

    fn pages(&self) -> *const *mut PageStruct {
        self.pages.as_ptr()
    }
}
