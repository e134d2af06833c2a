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
    MAP_BATCH,
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

    /// Maps a grant into each page: `grants` are as many.
    ///
    /// Stops at the first grants that Xen refuses. What has been mapped by then stays mapped: the
    /// caller releases it. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when Xen refuses a grant or there are too few, `EINTR` when a fatal signal is
    /// pending, and what `grants` say.
    pub fn map<'a>(
        &self,
        access: Access,
        mut grants: impl Iterator<Item = Result<(Authorised<'a>, Ref)>>,
    ) -> Result {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let mut batch = MapBatch::new(slots.ptes.is_some());
        let mut pages = self.pages.iter_from(0);
        let mut ptes = slots.ptes.as_ref().map(|ptes| ptes.addresses(0));
        let mut entries = slots.entries.iter_mut();
        loop {
            for _ in 0..entries.len().min(MAP_BATCH) {
                let (right, reference) = grants.next().ok_or(EINVAL)??;
                let page = pages.next().flatten().ok_or(EINVAL)?;
                let pte = ptes.as_mut().and_then(Iterator::next);
                batch.push(right, reference, access, page, pte)?;
            }
            let mut whole = true;
            for (mapped, entry) in batch.submit().zip(&mut entries) {
                whole &= mapped.page.is_some() && mapped.user.is_some() == ptes.is_some();
                // A slot that is not free cannot be: the pages are mapped into once.
                if let Some(handle) = mapped.page {
                    slots.held += usize::from(entry.page.occupy(handle).is_ok());
                }
                if let Some(handle) = mapped.user {
                    slots.in_user += usize::from(entry.user.occupy(handle).is_ok());
                }
            }
            if !whole {
                slots.partial = true;
                return Err(EINVAL);
            }
            if entries.len() == 0 {
                return Ok(());
            }
            task::checkpoint()?;
        }
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

    /// Takes grants out of user space's page table entries: those of the batch `range` for which
    /// `retire` says so, and those that wait for it. Returns whether something of the batch waits.
    #[inline]
    fn detach_batch(&mut self, range: Range<usize>, retire: &impl Fn(usize) -> bool) -> bool {
        let (Some(entries), Some(ptes)) = (self.entries.get_mut(range.clone()), &self.ptes) else {
            return false;
        };
        let mut batch = UnmapBatch::new();
        let (mut before, mut after) = (0usize, 0usize);
        let ptes = ptes.addresses(range.start);
        for (at, (entry, pte)) in entries.iter_mut().zip(ptes).enumerate() {
            before += usize::from(entry.waits());
            if retire(range.start + at) {
                entry.user.retire();
                entry.page.retire();
            }
            after += usize::from(entry.waits());
            if let Some(handle) = entry.user.begin() {
                if let Err(handle) = batch.add(pte.0, core::ptr::null_mut(), at, handle) {
                    entry.user.settle(Err(handle));
                }
            }
        }
        let (mut gone, mut refused) = (0, 0);
        batch.submit_user(|at, answer| {
            refused += usize::from(answer.is_err());
            let Some(entry) = entries.get_mut(at) else {
                return;
            };
            if entry.user.settle(answer) {
                gone += 1;
                // Where Xen had mapped only this half nothing is left.
                after -= usize::from(!entry.waits());
            }
        });
        self.in_user = self.in_user.saturating_sub(gone);
        self.refused += refused;
        self.note_waiting(range, before, after)
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
        let (mut before, mut after) = (0usize, 0usize);
        let pages = pages.iter_from(range.start);
        for (at, (entry, page)) in entries.iter_mut().zip(pages).enumerate() {
            before += usize::from(entry.waits());
            if retire(range.start + at) {
                entry.page.retire();
            }
            if !entry.waits() {
                continue;
            }
            after += 1;
            let Some(page) = page.filter(|page| entry.user.is_free() && !page.is_shared()) else {
                continue;
            };
            if let Some(handle) = entry.page.begin() {
                if let Err(handle) = batch.add(page.host_addr(), page.as_ptr(), at, handle) {
                    entry.page.settle(Err(handle));
                }
            }
        }
        let (mut gone, mut refused) = (0, 0);
        batch.submit_pages(|at, answer| {
            refused += usize::from(answer.is_err());
            if let Some(entry) = entries.get_mut(at) {
                gone += usize::from(entry.page.settle(answer));
            }
        });
        self.held = self.held.saturating_sub(gone);
        self.refused += refused;
        self.note_waiting(range, before, after.saturating_sub(gone))
    }

    /// Takes note that in `range` there were `before` entries that waited, and are `after` now.
    /// Returns whether there are any.
    #[inline]
    fn note_waiting(&mut self, range: Range<usize>, before: usize, after: usize) -> bool {
        self.waiting = (self.waiting + after).saturating_sub(before);
        if after != 0 {
            self.retiring = if self.retiring.is_empty() {
                range
            } else {
                self.retiring.start.min(range.start)..self.retiring.end.max(range.end)
            };
        } else if self.waiting == 0 {
            self.retiring = 0..0;
        }
        after != 0
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
