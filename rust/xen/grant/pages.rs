// SPDX-License-Identifier: GPL-2.0

//! Pages with grants mapped into them.

use super::{
    slot::Slot,
    Access,
    Handle,
    MapBatch,
    PteAddress,
    Ref,
    UnmapBatch,
    UserPtes, //
};
use crate::{
    bindings, domain,
    ext::{
        pages::PageStruct,
        task, //
    },
    restriction::Authorised,
    unpopulated::UnpopulatedPages,
};
use core::ops::Range;
use kernel::{
    alloc::flags::__GFP_NOWARN,
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

/// What [`GrantPages::release`] has done.
#[derive(Copy, Clone)]
pub struct Release {
    /// Whether the marked page was in use until now.
    pub marked: bool,
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
    /// The mapping in each page.
    page: KVVec<Slot<Handle>>,
    /// The mapping in each page table entry of user space (PV), else empty.
    user: KVVec<Slot<Handle>>,
    /// Where those page table entries are.
    ptes: Option<UserPtes>,
    /// No retiring slot is outside of this.
    retiring: Range<usize>,
    /// How many slots of `page` are not free.
    held: usize,
    /// How many slots of `page` are retiring.
    waiting: usize,
    /// How many unmappings Xen has refused, in all.
    refused: usize,
}

fn free_slots(count: usize) -> Result<KVVec<Slot<Handle>>> {
    let mut slots = KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?;
    for _ in 0..count {
        slots.push(Slot::Free, GFP_KERNEL)?;
    }
    Ok(slots)
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
        let slots = Slots {
            page: free_slots(count)?,
            user: free_slots(if ptes.is_some() { count } else { 0 })?,
            ptes,
            retiring: 0..0,
            held: 0,
            waiting: 0,
            refused: 0,
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
            let pte = slots.ptes.as_ref().and_then(|ptes| ptes.address(index));
            batch.push(right, reference, access, &self.pages, index, pte)?;
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

    /// Lets go of the grants of the pages in `range`.
    ///
    /// Mappings in user space's page table entries are gone when this returns. Those of pages that
    /// somebody still refers to wait for [`GrantPages::drain`]. With `unless_mapped`, pages that
    /// are in user space's page tables are left as they are.
    ///
    /// If the page of `mark` is one of them, its byte is cleared first. Allocates nothing; may
    /// sleep.
    pub fn release(&self, range: Range<usize>, unless_mapped: bool, mark: Option<Mark>) -> Release {
        let mut guard = self.slots.lock();
        let slots = &mut *guard;
        let range = range.start.min(slots.page.len())..range.end.min(slots.page.len());
        let mut marked = false;

        for index in range.clone() {
            if unless_mapped && self.pages.is_mapped(index) {
                continue;
            }
            let in_use = slots.page.get(index).is_some_and(Slot::is_mapped);
            if let Some(mark) = mark.filter(|mark| in_use && mark.index == index) {
                marked = true;
                if let Some(offset) = mark.clear {
                    self.pages.clear_byte(index, offset);
                }
            }
            slots.retire(index);
        }
        slots.drain(&self.pages);
        slots.report(marked)
    }

    /// Tries again to let go of what waits. Allocates nothing; may sleep.
    pub fn drain(&self) -> Release {
        let mut guard = self.slots.lock();
        guard.drain(&self.pages);
        guard.report(false)
    }

    /// How often Xen has refused to unmap a grant.
    pub fn refused(&self) -> usize {
        self.slots.lock().refused
    }
}

impl Slots {
    fn report(&self, marked: bool) -> Release {
        Release {
            marked,
            held: self.held,
            waiting: self.waiting,
        }
    }

    /// Asks Xen to map a batch, whose first grant is that of page `first`.
    fn submit(&mut self, batch: &mut MapBatch, first: usize) -> Result {
        let mut result = Ok(());
        let user_too = self.ptes.is_some();
        batch.submit(|at, mapped| {
            let index = first + at;
            if mapped.page.is_none() || (user_too && mapped.user.is_none()) {
                result = Err(EINVAL);
            }
            // A slot that is not free cannot be: the pages are mapped into once.
            if let (Some(handle), Some(slot)) = (mapped.page, self.page.get_mut(index)) {
                self.held += usize::from(slot.occupy(handle).is_ok());
            }
            if let (Some(handle), Some(slot)) = (mapped.user, self.user.get_mut(index)) {
                let _ = slot.occupy(handle);
            }
        });
        result
    }

    /// Asks for the end of both mappings of page `index`.
    fn retire(&mut self, index: usize) {
        let user = self.user.get_mut(index).is_some_and(Slot::retire);
        let page = self.page.get_mut(index).is_some_and(Slot::retire);
        self.waiting += usize::from(page);
        if user || page {
            self.retiring = if self.retiring.is_empty() {
                index..index + 1
            } else {
                self.retiring.start.min(index)..self.retiring.end.max(index + 1)
            };
        }
    }

    /// Lets go of what is retiring, as far as it can be.
    fn drain(&mut self, pages: &UnpopulatedPages) {
        if self.retiring.is_empty() {
            return;
        }
        self.drain_user(pages);

        let mut batch = UnmapBatch::new();
        for index in self.retiring.clone() {
            // What is still in a page table of user space has to go first.
            if self.user.get(index).is_some_and(|user| !user.is_free()) || pages.is_shared(index) {
                continue;
            }
            let Some(handle) = self.page.get_mut(index).and_then(Slot::begin) else {
                continue;
            };
            self.push(&mut batch, pages, index, None, handle);
            if batch.is_full() {
                batch.submit_pages(|index, answer| self.settle_page(index, answer));
                task::yield_now();
            }
        }
        batch.submit_pages(|index, answer| self.settle_page(index, answer));

        // What is left of the range.
        let left = |index: &usize| {
            self.page.get(*index).is_some_and(Slot::is_retiring)
                || self.user.get(*index).is_some_and(Slot::is_retiring)
        };
        let start = self.retiring.clone().find(left);
        let end = self.retiring.clone().rfind(left);
        self.retiring = match (start, end) {
            (Some(start), Some(end)) => start..end + 1,
            _ => 0..0,
        };
    }

    /// Lets go of what is retiring in user space's page table entries.
    fn drain_user(&mut self, pages: &UnpopulatedPages) {
        if self.user.is_empty() {
            return;
        }
        let mut batch = UnmapBatch::new();
        for index in self.retiring.clone() {
            let Some(handle) = self.user.get_mut(index).and_then(Slot::begin) else {
                continue;
            };
            let pte = self.ptes.as_ref().and_then(|ptes| ptes.address(index));
            self.push(&mut batch, pages, index, pte, handle);
            if batch.is_full() {
                batch.submit_user(|index, answer| self.settle_user(index, answer));
                task::yield_now();
            }
        }
        batch.submit_user(|index, answer| self.settle_user(index, answer));
    }

    fn push(
        &mut self,
        batch: &mut UnmapBatch,
        pages: &UnpopulatedPages,
        index: usize,
        pte: Option<PteAddress>,
        handle: Handle,
    ) {
        if let Err(handle) = batch.push(pages, index, pte, handle) {
            let slot = if pte.is_some() {
                self.user.get_mut(index)
            } else {
                self.page.get_mut(index)
            };
            if let Some(slot) = slot {
                slot.settle(Err(handle));
            }
        }
    }

    fn settle_page(&mut self, index: usize, answer: Result<super::Released, Handle>) {
        self.refused += usize::from(answer.is_err());
        if self
            .page
            .get_mut(index)
            .is_some_and(|slot| slot.settle(answer))
        {
            self.waiting = self.waiting.saturating_sub(1);
            self.held = self.held.saturating_sub(1);
        }
    }

    fn settle_user(&mut self, index: usize, answer: Result<super::Released, Handle>) {
        self.refused += usize::from(answer.is_err());
        if let Some(slot) = self.user.get_mut(index) {
            slot.settle(answer);
        }
    }
}

#[pinned_drop]
impl PinnedDrop for GrantPages {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let slots = this.slots.lock();
        for (index, slot) in slots.page.iter().enumerate() {
            if !slot.is_free() || slots.user.get(index).is_some_and(|user| !user.is_free()) {
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
