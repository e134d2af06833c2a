// SPDX-License-Identifier: GPL-2.0

//! Frames of other domains, shown in the address space of a process.
//!
//! A process reserves a range with mmap ([`ForeignRange::install`]) and fills it later, in one call
//! or several ([`Filling`]). On a paravirtual kernel Xen writes foreign frames straight into the page
//! table. On a translated one they are put into this domain's own physical address space first, at
//! pages of the kernel's pool of such addresses.
//!
//! While a call fills a range it owns what the range holds, and the range says
//! [`State::Filling`](crate::range::State). So the locks can be dropped between pieces, to copy from
//! and to user space, without anybody else changing the range meanwhile; only the whole mapping may
//! go, which each piece finds out before it does anything. A call that fails takes back what it has
//! mapped.
//!
//! Lock order: mmap lock, then a range's own, then its ledger's.
//!
//! C headers: `include/xen/xen-ops.h`, `xen/include/public/memory.h`, `xen/include/public/xen.h`.

use crate::{
    bindings,
    domain::is_pv,
    domid::DomId,
    ext::{
        latch::Gate,
        mm_lock::{
            LockedVma,
            MmapWriteGuard, //
        },
        vma::{
            self,
            MappingState,
            VmaTable, //
        },
    },
    range::{
        self,
        Extent,
        Prior,
        Refusal,
        Span,
        State,
        PAGE_SIZE, //
    },
    resource::Resource,
    restriction::Authorised, //
};
use core::{
    mem::MaybeUninit,
    ptr::{
        self,
        NonNull, //
    }, //
};
use teardown::Teardown;

use kernel::{
    error::to_result,
    ffi::c_int,
    mm::virt::{
        VmaNew,
        VmaRef, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow,
        Mutex, //
    },
    types::NotThreadSafe, //
};

mod ledger;
mod machine;
mod pages;
mod teardown;

pub use ledger::Ledger;
pub use pages::kept_by_xen;

const _: () = assert!(
    PAGE_SIZE == kernel::page::PAGE_SIZE,
    "foreign frames are mapped page by page"
);

/// Tells the mappings that are ranges of ours from all others.
static RANGES: VmaTable<ForeignRange> = VmaTable::new();

/// What a range holds, while no call is filling it.
struct Content {
    /// The pages that foreign frames are behind of. Always empty on a paravirtual kernel.
    backed: pages::Backed,
    /// Whose frames there are, and how many.
    frames: usize,
    domain: DomId,
    /// The same for further domains: a range hardly ever has more than one.
    others: KVec<(DomId, usize)>,
    /// What the range was filled from, if not from frames by number.
    origin: Option<Origin>,
}

impl Content {
    const fn none() -> Self {
        Self {
            backed: pages::Backed::new(),
            frames: 0,
            domain: DomId::IDLE,
            others: KVec::new(),
            origin: None,
        }
    }

    /// Counts `added` frames of `domain`, in the ledger too. Where there is no memory for that the
    /// frames are there all the same, and merely do not show.
    fn count(&mut self, ledger: &Ledger, domain: DomId, added: usize) {
        if added == 0 {
            return;
        }
        if self.frames == 0 {
            self.domain = domain;
        }
        let frames = if self.domain == domain {
            &mut self.frames
        } else {
            if !self.others.iter().any(|(d, _)| *d == domain)
                && self.others.push((domain, 0), GFP_KERNEL).is_err()
            {
                return;
            }
            match self.others.iter_mut().find(|(d, _)| *d == domain) {
                Some((_, frames)) => frames,
                None => return,
            }
        };
        if ledger.add(domain, added) {
            *frames = frames.saturating_add(added);
        }
    }
}

/// Which frames of a resource a range shows, from its start on.
#[derive(Copy, Clone)]
struct Origin {
    resource: Resource,
    domain: DomId,
    first: u64,
}

struct Inner {
    state: State,
    content: Content,
    /// Takes the frames of a paravirtual kernel out of the page tables when the mapping goes.
    teardown: Option<Pin<KBox<Teardown>>>,
}

/// A range of user space for foreign frames.
///
/// It is kept alive by its mappings, by a call that fills it, and by whoever needs its pages to
/// stay. When the last of them lets go, the pages have left the page tables, and go back to Xen and
/// to the pool.
#[pin_data(PinnedDrop)]
pub struct ForeignRange {
    ledger: Arc<Ledger>,
    /// Closed while a call fills it: others wait for it to be done.
    idle: Gate,
    #[pin]
    inner: Mutex<Inner>,
}

impl ForeignRange {
    /// Makes a new mapping a range, empty for now. To be called from mmap, as its last step.
    ///
    /// The mapping is not inherited over fork, does not grow, is not dumped and cannot be split.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn install(vma: &VmaNew, ledger: Arc<Ledger>) -> Result {
        let range = Arc::pin_init(
            pin_init!(Self {
                ledger,
                idle: Gate::new(),
                inner <- new_mutex!(Inner {
                    state: State::Fresh,
                    content: Content::none(),
                    teardown: None,
                }),
            }),
            GFP_KERNEL,
        )?;
        range.ledger.range_made();

        vma.set_io();
        vma.set_dontcopy();
        vma.set_dontexpand();
        vma.set_dontdump();
        // SAFETY: The mapping is being set up, so its flags are ours to set.
        unsafe { bindings::xen_rust_vma_set_pfnmap(vma.as_ptr()) };
        if is_pv() {
            // The kernel would ask Xen to enter a foreign frame elsewhere as one of its own.
            vma::set_unmovable(vma);
        }
        RANGES.install(vma, range);
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for ForeignRange {
    fn drop(self: Pin<&mut Self>) {
        let inner = self.inner.lock();
        let content = &inner.content;
        self.ledger.remove(content.domain, content.frames);
        for (domain, frames) in &content.others {
            self.ledger.remove(*domain, *frames);
        }
        self.ledger.range_gone();
    }
}

impl MappingState for ForeignRange {
    fn closed(self: ArcBorrow<'_, Self>, vma: &VmaRef) {
        if !is_pv() || vma.end() - vma.start() < teardown::WORTHWHILE * PAGE_SIZE {
            return;
        }
        // Others may hold the range for longer than the mapping is there. (Where a mapping can be
        // moved, so that there are two for a while, there is none.)
        let teardown = self.inner.lock().teardown.take();
        drop(teardown);
    }

    fn may_split(self: ArcBorrow<'_, Self>, _vma: &VmaRef, _address: usize) -> Result {
        Err(EINVAL)
    }

    fn may_protect(self: ArcBorrow<'_, Self>, _vma: &VmaRef) -> Result {
        // As with moving: the kernel would ask Xen to enter foreign frames as if they were its own.
        if is_pv() && self.inner.lock().state != State::Fresh {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn may_move(self: ArcBorrow<'_, Self>, _new: &VmaRef) -> Result {
        // A call that fills the range looks for it where it was.
        if self.inner.lock().state == State::Filling {
            return Err(EBUSY);
        }
        Ok(())
    }
}

/// Room for a piece of a request: the frames, and what came of each.
pub struct Piece<const N: usize> {
    frames: [u64; N],
    errors: [c_int; N],
    pfns: [u64; N],
    pages: [*mut bindings::page; N],
}

/// As many frames as are mapped in one go when there are many: their piece takes just less than a
/// page of memory.
pub const LARGE: usize = 128;

/// As many as are mapped in one go without allocating memory.
pub const SMALL: usize = 8;

impl<const N: usize> Piece<N> {
    /// An empty piece.
    pub const fn new() -> Self {
        Self {
            frames: [0; N],
            errors: [0; N],
            pfns: [0; N],
            pages: [ptr::null_mut(); N],
        }
    }

    /// An empty piece in memory of its own.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn boxed() -> Result<KBox<Self>> {
        let mut piece = KBox::<Self>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        let _ = &mut piece;
        // SAFETY: Zeroes are numbers and null pointers.
        Ok(unsafe { piece.assume_init() })
    }

    /// Its first `len` frames, or as many as there is room for.
    pub fn first(&mut self, len: usize) -> Frames<'_> {
        let len = len.min(N);
        Frames {
            frames: self.frames.get_mut(..len).unwrap_or_default(),
            errors: self.errors.get_mut(..len).unwrap_or_default(),
            pfns: self.pfns.get_mut(..len).unwrap_or_default(),
            pages: self.pages.get_mut(..len).unwrap_or_default(),
        }
    }
}

impl<const N: usize> Default for Piece<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Frames of a piece, and what came of each.
///
/// # Invariants
///
/// All slices have the same length.
pub struct Frames<'a> {
    frames: &'a mut [u64],
    errors: &'a mut [c_int],
    pfns: &'a mut [u64],
    pages: &'a mut [*mut bindings::page],
}

impl Frames<'_> {
    /// How many.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frame numbers, to be filled in before they are mapped. Mapping leaves them alone unless
    /// it says otherwise.
    pub fn numbers(&mut self) -> &mut [u64] {
        self.frames
    }

    /// The frame numbers together with what came of each.
    pub fn results(&self) -> impl Iterator<Item = (u64, c_int)> + '_ {
        self.frames.iter().copied().zip(self.errors.iter().copied())
    }

    /// What came of each: 0, or a negative error number.
    pub fn errors(&self) -> &[c_int] {
        self.errors
    }

    /// The first error there is.
    ///
    /// # Errors
    ///
    /// Just that.
    pub fn all_mapped(&self) -> Result {
        self.errors.iter().try_for_each(|e| to_result(*e))
    }

    fn mapped(&self) -> usize {
        self.errors.iter().filter(|e| **e == 0).count()
    }
}

/// How frames are numbered.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Numbering {
    /// As the domain that owns them does.
    Guest,
    /// As the machine does.
    Machine,
}

/// A call's ownership of a range while it fills it.
///
/// Dropped, it takes back all that the call has mapped; [`Filling::finish`] leaves it there.
pub struct Filling {
    range: Arc<ForeignRange>,
    content: Content,
    prior: Option<Prior>,
    /// The range's length in pages.
    total: usize,
    /// Where the call began to fill it, as a page and as an address, how many pages it was to fill,
    /// and how many it has dealt with since.
    first: usize,
    start: usize,
    pages: usize,
    done: usize,
    /// How many of these have got a frame.
    mapped: usize,
    /// Pages that were there before.
    backed_before: usize,
    domain: DomId,
    /// It is about the current process's address space.
    _here: NotThreadSafe,
}

/// The range that `address` lies in, and where that is.
fn lookup<'a>(
    lock: &'a MmapWriteGuard,
    address: usize,
) -> Option<(LockedVma<'a>, Arc<ForeignRange>, Extent)> {
    let vma = lock.lookup(address)?;
    let range = RANGES.state(&vma)?.into();
    let extent = Extent::new(vma.start(), vma.end())?;
    Some((vma, range, extent))
}

/// Where the range that `address` lies in is.
///
/// # Errors
///
/// `EINVAL` where there is no range.
pub fn extent_at(address: usize) -> Result<Extent> {
    let lock = MmapWriteGuard::lock()?;
    lookup(&lock, address)
        .map(|(_, _, extent)| extent)
        .ok_or(EINVAL)
}

enum Owned {
    Yes(Filling),
    /// Another call has it.
    Busy(Arc<ForeignRange>),
}

impl Filling {
    /// Begins to fill the `pages` pages at `address` of a range, and lets `first` do a piece of it
    /// under the same lock. Waits while another call is filling it. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless there is such a range and `fill` lets these pages be filled, `EBUSY` when it
    /// was to be filled as a whole and has been; `EINTR`, `ENOMEM`, and what `first` says.
    #[inline]
    pub fn begin(
        right: Authorised<'_>,
        address: usize,
        pages: usize,
        fill: range::Fill,
        first: impl FnOnce(&mut Piecewise<'_>) -> Result,
    ) -> Result<Self> {
        loop {
            let lock = MmapWriteGuard::lock()?;
            let (vma, range, extent) = lookup(&lock, address).ok_or(EINVAL)?;
            let span = extent.span(address, pages).ok_or(EINVAL)?;
            match Self::own(range, &vma, extent, span, right.domain(), fill)? {
                Owned::Yes(mut filling) => {
                    let result = first(&mut Piecewise {
                        filling: &mut filling,
                        vma,
                    });
                    // Taking back needs the lock for itself.
                    drop(lock);
                    return result.map(|()| filling);
                }
                Owned::Busy(range) => {
                    drop(lock);
                    range.idle.wait_killable()?;
                }
            }
        }
    }

    /// Takes what the range holds over, if no other call has.
    //
    // Inlined, as what it returns would be copied twice on its way.
    #[inline(always)]
    fn own(
        range: Arc<ForeignRange>,
        vma: &LockedVma<'_>,
        extent: Extent,
        span: Span,
        domain: DomId,
        fill: range::Fill,
    ) -> Result<Owned> {
        let total = extent.pages();
        let mut inner = range.inner.lock();
        let prior = match (inner.state.begin(total, span, fill), fill) {
            (Ok(prior), _) => prior,
            (Err(Refusal::Busy), _) => {
                drop(inner);
                return Ok(Owned::Busy(range));
            }
            (Err(Refusal::Filled), range::Fill::Whole) => return Err(EBUSY),
            (Err(Refusal::Filled | Refusal::Misplaced), _) => return Err(EINVAL),
        };
        let content = core::mem::replace(&mut inner.content, Content::none());
        let wants_teardown = is_pv() && total >= teardown::WORTHWHILE && inner.teardown.is_none();
        range.idle.close();
        drop(inner);

        if wants_teardown {
            // Nobody else makes one: the range is ours, and the mmap lock is held. Without it all
            // is the same, but slower.
            let teardown = Teardown::new(vma).ok();
            range.inner.lock().teardown = teardown;
        }

        Ok(Owned::Yes(Self {
            range,
            backed_before: content.backed.len(),
            content,
            prior: Some(prior),
            total,
            first: span.first(),
            start: vma.start() + span.first() * PAGE_SIZE,
            pages: span.pages(),
            done: 0,
            mapped: 0,
            domain,
            _here: NotThreadSafe,
        }))
    }

    /// Lets `next` do a further piece. Sleeps.
    ///
    /// # Errors
    ///
    /// `EFAULT` when the range has been unmapped meanwhile, `EINTR`, and what `next` says.
    pub fn next(&mut self, next: impl FnOnce(&mut Piecewise<'_>) -> Result) -> Result {
        let lock = MmapWriteGuard::lock()?;
        let (vma, range, _) = lookup(&lock, self.start).ok_or(EFAULT)?;
        if !Arc::ptr_eq(&range, &self.range) {
            return Err(EFAULT);
        }
        next(&mut Piecewise { filling: self, vma })
    }

    /// Leaves what has been mapped in the range. Sleeps.
    #[inline]
    pub fn finish(mut self) {
        let Some(prior) = self.prior.take() else {
            return;
        };
        let mut content = core::mem::replace(&mut self.content, Content::none());
        content.count(&self.range.ledger, self.domain, self.mapped);

        let mut inner = self.range.inner.lock();
        inner.state.finish(self.total, prior, self.mapped);
        inner.content = content;
        self.range.idle.open();
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let Some(prior) = self.prior.take() else {
            return;
        };
        // Where the mapping is gone its page table entries are too.
        if let Ok(lock) = MmapWriteGuard::lock_unkillable() {
            if let Some((vma, range, _)) = lookup(&lock, self.start) {
                if Arc::ptr_eq(&range, &self.range) {
                    vma.zap(self.start, self.done);
                }
            }
        }
        let mut content = core::mem::replace(&mut self.content, Content::none());
        let added = content.backed.len().saturating_sub(self.backed_before);
        // SAFETY: These are the pages that this call has added, which have been in its part of the
        // mapping only; that part has just been emptied, or is gone.
        unsafe { content.backed.release(added) };
        if prior.was_fresh() {
            content.origin = None;
        }

        let mut inner = self.range.inner.lock();
        inner.state.abandon(prior);
        inner.content = content;
        self.range.idle.open();
    }
}

/// A range that is being filled, with the mmap lock held: nothing may touch user space.
pub struct Piecewise<'a> {
    filling: &'a mut Filling,
    vma: LockedVma<'a>,
}

impl Piecewise<'_> {
    /// Where the next `count` pages go, checked to be empty.
    fn advance(&mut self, count: usize) -> Result<usize> {
        let f = &mut *self.filling;
        let done = f.done.checked_add(count).ok_or(EINVAL)?;
        if done > f.pages {
            return Err(EINVAL);
        }
        // In bounds, as `done` does not exceed `pages`.
        let address = f.start + f.done * PAGE_SIZE;
        // A fresh range is empty all over.
        if !f.prior.as_ref().is_some_and(Prior::was_fresh) {
            self.vma.expect_empty(address, count).map_err(|e| {
                // What is there already has been asked for again.
                if e == EEXIST {
                    EINVAL
                } else {
                    e
                }
            })?;
        }
        // From here on taking back includes these pages.
        f.done = done;
        Ok(address)
    }

    /// Maps frames of the domain that `right` is for, each numbered as that domain does, at the
    /// next pages of the range. What came of each is in the piece afterwards.
    ///
    /// Calls Xen. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are more frames than the call began with, or one of the pages has a
    /// frame already; `ENOMEM`. Errors of single frames are in the piece only.
    pub fn map(&mut self, right: Authorised<'_>, frames: &mut Frames<'_>) -> Result {
        let address = self.advance(frames.len())?;
        if is_pv() {
            self.enter(right.domain(), address, frames, Numbering::Guest)?;
        } else {
            self.place(right.domain(), address, frames)?;
        }
        self.filling.mapped += frames.mapped();
        Ok(())
    }

    /// Maps frames of `resource`, the `at`th on, at the next pages of the range.
    ///
    /// Calls Xen. Sleeps.
    ///
    /// # Errors
    ///
    /// Whatever Xen says if it refuses one of them; otherwise as [`Piecewise::map`].
    pub fn map_resource(
        &mut self,
        right: Authorised<'_>,
        resource: &Resource,
        at: u64,
        frames: &mut Frames<'_>,
    ) -> Result {
        let address = self.advance(frames.len())?;
        if is_pv() {
            frames.numbers().fill(0);
            let owned_by_us = resource.acquire(right, at, frames.numbers())?;
            let owner = if owned_by_us {
                DomId::SELF
            } else {
                right.domain()
            };
            self.enter(owner, address, frames, Numbering::Machine)?;
            frames.all_mapped()?;
        } else {
            pages::take(frames.pages)?;
            for (page, pfn) in frames.pages.iter().zip(frames.pfns.iter_mut()) {
                *pfn = pages::pfn(*page);
                // SAFETY: The page is from the pool, and given up here. Should Xen refuse, or
                // stop half-way, the frames are taken out of the pages as with any other.
                unsafe { self.filling.content.backed.push(*page) };
            }
            resource.acquire(right, at, frames.pfns)?;
            frames.errors.fill(0);
            self.set_ptes(address, frames)?;
        }
        self.filling.mapped += frames.len();
        Ok(())
    }

    /// Notes that the range shows frames of `resource`, the `first` one on.
    pub fn set_origin(&mut self, resource: Resource, first: u64) {
        self.filling.content.origin = Some(Origin {
            resource,
            domain: self.filling.domain,
            first,
        });
    }

    /// Has Xen enter frames into the page table (paravirtual kernels).
    fn enter(
        &mut self,
        owner: DomId,
        address: usize,
        frames: &mut Frames<'_>,
        numbering: Numbering,
    ) -> Result {
        /// Requests that one hypercall gets.
        const UPDATES: usize = 64;
        let mut updates = [const { MaybeUninit::<bindings::mmu_update>::uninit() }; UPDATES];
        let mut address = address;

        for (frames, errors) in frames
            .frames
            .chunks(UPDATES)
            .zip(frames.errors.chunks_mut(UPDATES))
        {
            // SAFETY: The mmap lock is held for writing, and the mapping covers these pages, as
            // `advance` has seen. There are as many frames, and room for as many requests.
            to_result(unsafe {
                bindings::xen_rust_foreign_updates(
                    self.vma.as_ptr(),
                    address,
                    frames.as_ptr(),
                    frames.len() as u32,
                    numbering == Numbering::Machine,
                    updates.as_mut_ptr().cast::<bindings::mmu_update>(),
                )
            })?;
            // SAFETY: The wrapper has written a request for each frame.
            let updates = unsafe {
                core::slice::from_raw_parts_mut(
                    updates.as_mut_ptr().cast::<bindings::mmu_update>(),
                    frames.len(),
                )
            };
            request(owner, updates, errors);
            address += frames.len() * PAGE_SIZE;
        }

        let f = &*self.filling;
        if f.total >= teardown::WORTHWHILE {
            if let Some(teardown) = &f.range.inner.lock().teardown {
                teardown.reaches(f.first, f.first + f.done);
            }
        }
        Ok(())
    }

    /// Has Xen put frames into our physical address space, and enters those that it has put there
    /// into the page table (translated kernels).
    fn place(&mut self, owner: DomId, address: usize, frames: &mut Frames<'_>) -> Result {
        /// What a frame's error says as long as Xen has not written it.
        const UNANSWERED: c_int = c_int::MIN;

        pages::take(frames.pages)?;
        for (page, pfn) in frames.pages.iter().zip(frames.pfns.iter_mut()) {
            *pfn = pages::pfn(*page);
        }
        frames.errors.fill(UNANSWERED);
        // SAFETY: All arrays have the same length, which is below that of a piece.
        let ret = unsafe {
            bindings::xen_rust_add_foreign_to_physmap(
                owner.raw(),
                frames.frames.as_mut_ptr(),
                frames.pfns.as_mut_ptr(),
                frames.errors.as_mut_ptr(),
                frames.frames.len() as u16,
            )
        };
        let unanswered = if ret < 0 { ret } else { EIO.to_errno() };

        let mut unused = 0;
        for i in 0..frames.pages.len() {
            let (Some(error), Some(page)) = (frames.errors.get_mut(i), frames.pages.get(i)) else {
                break;
            };
            let page = *page;
            if *error == UNANSWERED {
                *error = unanswered;
            }
            if *error == 0 {
                // SAFETY: The page is from the pool, and given up here.
                unsafe { self.filling.content.backed.push(page) };
            } else if let Some(slot) = frames.pages.get_mut(unused) {
                // Never beyond `i`.
                *slot = page;
                unused += 1;
            }
        }
        if let Some(unused) = frames.pages.get_mut(..unused) {
            // SAFETY: The pages are from the pool, and Xen has put no frame there: it said so, or
            // did not get to them.
            unsafe { pages::give_back(unused) };
        }
        self.set_ptes(address, frames)
    }

    fn set_ptes(&mut self, address: usize, frames: &Frames<'_>) -> Result {
        // SAFETY: The mmap lock is held for writing, and the mapping covers these pages, as
        // `advance` has seen. The pages are from the pool, and belong to the range from now on,
        // which takes their entries out before it lets go of them. The arrays have that length.
        to_result(unsafe {
            bindings::xen_rust_foreign_set_ptes(
                self.vma.as_ptr(),
                address,
                frames.pfns.as_ptr(),
                frames.errors.as_ptr(),
                frames.pfns.len() as u32,
            )
        })
    }
}

/// Has Xen do `updates` for frames of `owner`, and writes what came of each to `errors`, which has
/// the same length.
fn request(owner: DomId, updates: &mut [bindings::mmu_update], errors: &mut [c_int]) {
    let mut updates = updates;
    let mut errors = errors;

    while !updates.is_empty() {
        let mut done: c_int = 0;
        // SAFETY: There are as many requests, made for page tables of the current process whose
        // mmap lock is held.
        let ret = unsafe {
            bindings::xen_rust_mmu_update(
                updates.as_mut_ptr(),
                updates.len() as c_int,
                &mut done,
                u32::from(owner.raw()),
            )
        };
        let done = usize::try_from(done).unwrap_or(0).min(updates.len());
        let (good, rest) = errors.split_at_mut(done);
        good.fill(0);
        if ret >= 0 {
            // Xen does all or says why not.
            rest.fill(EIO.to_errno());
            return;
        }
        if ret == ESRCH.to_errno() {
            // There is no such domain, for the others neither.
            rest.fill(ret);
            return;
        }
        let Some((failed, rest)) = rest.split_first_mut() else {
            return;
        };
        *failed = ret;
        errors = rest;
        updates = updates.get_mut(done + 1..).unwrap_or_default();
    }
}

/// A frame that a domain's ioreq server shares with its device model, kept at hand for the kernel.
///
/// # Invariants
///
/// `address` is that of a page which stays mapped for the kernel as long as the value lives.
pub struct IoreqFrame {
    address: NonNull<u8>,
    _held: Held,
}

// SAFETY: The page can be accessed from anywhere.
unsafe impl Send for IoreqFrame {}
// SAFETY: As above; whoever accesses it reckons with others doing so.
unsafe impl Sync for IoreqFrame {}

/// What keeps the page.
enum Held {
    /// The range that shows it has it in our physical address space, where the kernel sees it too.
    Range { _range: Arc<ForeignRange> },
    /// A mapping of the kernel's own.
    Mapping { _mapping: machine::MachineMapping },
}

impl IoreqFrame {
    /// The frame that the current process sees at `address`, the start of a page in a range that
    /// was filled from an ioreq server of the domain that `right` is for. Sleeps, and calls Xen.
    ///
    /// # Errors
    ///
    /// `EINVAL` when anything else is there; `ENOMEM`, `EINTR`, and what Xen says.
    pub fn at(right: Authorised<'_>, address: usize) -> Result<Self> {
        /// Before it comes the page of buffered requests.
        const FIRST: u64 = 1;

        let lock = MmapWriteGuard::lock()?;
        let (_, range, extent) = lookup(&lock, address).ok_or(EINVAL)?;
        drop(lock);
        let index = extent.span(address, 1).ok_or(EINVAL)?.first();

        let (origin, page) = {
            let inner = range.inner.lock();
            let origin = inner.content.origin.ok_or(EINVAL)?;
            if inner.state != State::Filled
                || origin.domain != right.domain()
                || origin.resource.kind() != Resource::IOREQ_SERVER
            {
                return Err(EINVAL);
            }
            (origin, inner.content.backed.nth(index))
        };
        let at = origin.first.checked_add(index as u64).ok_or(EINVAL)?;
        if at < FIRST {
            return Err(EINVAL);
        }

        if is_pv() {
            let mut frame = [0];
            let owned_by_us = origin.resource.acquire(right, at, &mut frame)?;
            let owner = if owned_by_us {
                DomId::SELF
            } else {
                right.domain()
            };
            let [frame] = frame;
            let mapping = machine::MachineMapping::new(frame, owner)?;
            // INVARIANT: It is mapped as long as the mapping lives.
            Ok(Self {
                address: mapping.address(),
                _held: Held::Mapping { _mapping: mapping },
            })
        } else {
            let page = page.ok_or(EINVAL)?;
            // SAFETY: The page is the range's.
            let address = unsafe { bindings::xen_rust_page_address(page) };
            // INVARIANT: The pool's pages are in the kernel's direct mapping; the page is not given
            // back before the range is gone.
            Ok(Self {
                address: NonNull::new(address.cast()).ok_or(EINVAL)?,
                _held: Held::Range { _range: range },
            })
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> NonNull<u8> {
        self.address
    }
}
