// SPDX-License-Identifier: GPL-2.0

//! The memory that Xen has reserved for this domain: giving pages back, and getting some again.
//!
//! The kernel has a balloon of its own, whether or not it has an interface to it: a list of pages
//! without memory, a thread that makes for `balloon_stats.target_pages`, and functions to borrow
//! such pages and to return them. That thread gives pages away as they are, unless the kernel was
//! told to scrub, which no module can do or see. So [`Reservoir`] has a way of its own to give
//! and take pages, and leaves nothing to the thread:
//!
//! - pages in the kernel's list are borrowed from it for as long as the reservoir exists, and all
//!   of the reservoir's pages go to that list when it is dropped;
//! - `current_pages` and `target_pages` change together by what was given or taken, so that the
//!   thread has nothing to do, whenever it looks, and others read the truth.
//!
//! C headers: `include/xen/balloon.h`, `include/xen/mem-reservation.h`,
//! `include/xen/interface/memory.h`.

use crate::{
    bindings,
    domain,
    ext::pages::PageStruct, //
};
use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicUsize,
        Ordering, //
    },
};
use kernel::{
    error::to_result,
    page::PAGE_SHIFT,
    prelude::*, //
};

mod hotplug;
pub mod map;

use hotplug::Hotplug;

/// Pages that are dealt with at a time: 2 MiB.
pub const BLOCK_PAGES: usize = 1 << BLOCK_ORDER;

/// The order of an extent of that size.
const BLOCK_ORDER: u32 = 9;

/// What the kernel knows of its balloon. All figures are in pages, and may change at any time.
pub mod stats {
    use super::*;

    fn read(field: *mut kernel::ffi::c_ulong) -> usize {
        // SAFETY: The kernel's variable is valid for good, aligned, and written to by whole words.
        unsafe { AtomicUsize::from_ptr(field.cast()) }.load(Ordering::Relaxed)
    }

    fn write(field: *mut kernel::ffi::c_ulong, value: usize) {
        // SAFETY: As for `read()`.
        unsafe { AtomicUsize::from_ptr(field.cast()) }.store(value, Ordering::Relaxed);
    }

    macro_rules! readable {
        ($($(#[$attr:meta])* $name:ident => $field:ident;)*) => {$(
            $(#[$attr])*
            pub fn $name() -> usize {
                // SAFETY: Only the address is taken.
                read(unsafe { &raw mut bindings::balloon_stats.$field })
            }
        )*};
    }

    macro_rules! writable {
        ($($(#[$attr:meta])* $name:ident => $field:ident;)*) => {$(
            $(#[$attr])*
            pub fn $name(value: usize) {
                // SAFETY: Only the address is taken.
                write(unsafe { &raw mut bindings::balloon_stats.$field }, value);
            }
        )*};
    }

    readable! {
        /// Pages of this domain that have memory.
        current_pages => current_pages;
        /// Pages of this domain that the kernel wants to have memory.
        target_pages => target_pages;
        /// Pages without memory in the kernel's own list, but for high ones.
        balloon_low => balloon_low;
        /// High pages without memory in the kernel's own list; only 32-bit kernels have such.
        balloon_high => balloon_high;
        /// Pages that the kernel knew of as memory when it started, with anything behind them or
        /// not.
        ///
        /// Blocks that we add are not counted. The kernel counts what it adds itself, but does so
        /// only where it has the interface; nobody else reads the figure. It alone tells later on
        /// how much there was at first.
        total_pages => total_pages;
        /// Seconds until the next attempt, where Xen or the kernel refuses.
        schedule_delay => schedule_delay;
        /// Seconds that this grows to at most.
        max_schedule_delay => max_schedule_delay;
        /// Which attempt it is.
        retry_count => retry_count;
        /// After how many attempts to give up; 0 for never.
        max_retry_count => max_retry_count;
    }

    writable! {
        /// Sets [`schedule_delay`].
        set_schedule_delay => schedule_delay;
        /// Sets [`max_schedule_delay`].
        set_max_schedule_delay => max_schedule_delay;
        /// Sets [`retry_count`].
        set_retry_count => retry_count;
        /// Sets [`max_retry_count`].
        set_max_retry_count => max_retry_count;
    }
}

/// Whether the kernel has an interface to its balloon built in, at the place of ours.
pub fn has_builtin_interface() -> bool {
    let symbol = c"xen_balloon_init".as_char_ptr();
    // SAFETY: The name is valid during the call.
    let found = !unsafe { bindings::__symbol_get(symbol) }.is_null();
    if found {
        // SAFETY: The symbol was found, and this drops the reference that it came with.
        unsafe { bindings::__symbol_put(symbol) };
    }
    found
}

/// Pages that the kernel could hand out without hurting anybody much.
pub fn available_pages() -> usize {
    // SAFETY: Reads counters.
    usize::try_from(unsafe { bindings::si_mem_available() }).unwrap_or(0)
}

/// How many pages Xen lets this domain have at most.
pub fn maximum_pages() -> usize {
    // SAFETY: May be called anywhere.
    unsafe { bindings::xen_rust_maximum_reservation() }
}

/// How many pages the toolstack has made this domain with. That never changes, other than how many
/// the domain may have.
///
/// May sleep.
///
/// # Errors
///
/// What Xen says: `ENOSYS` where it was given no map. `ENOMEM`.
pub fn initial_pages() -> Result<usize> {
    // As many as a PC's firmware could tell of.
    const MOST: kernel::ffi::c_uint = 128;
    let mut ranges = KVec::from_elem(map::Range::default(), MOST as usize, GFP_KERNEL)?;
    let mut count = MOST;
    // SAFETY: There is room for so many, and any bits are a range.
    to_result(unsafe { bindings::xen_rust_memory_map(ranges.as_mut_ptr().cast(), &mut count) })?;
    let told = ranges.get(..count as usize).unwrap_or_default();
    Ok(usize::try_from(map::bytes(told) >> PAGE_SHIFT).unwrap_or(usize::MAX))
}

/// A stack of owned pages, or of blocks of pages, linked through the pages.
///
/// # Invariants
///
/// `top` and what it links to are `len` pages, owned by this stack. Each stands for itself, or is
/// the first of a block.
struct Stack {
    top: *mut PageStruct,
    len: usize,
}

impl Stack {
    const fn new() -> Self {
        // INVARIANT: It is empty.
        Self {
            top: core::ptr::null_mut(),
            len: 0,
        }
    }

    /// # Safety
    ///
    /// The page, or the block, is handed over, and is on no other stack.
    unsafe fn push(&mut self, page: NonNull<PageStruct>) {
        // SAFETY: The page is ours.
        unsafe { bindings::xen_rust_set_page_link(page.as_ptr(), self.top) };
        // INVARIANT: One more, by the function's contract.
        self.top = page.as_ptr();
        self.len += 1;
    }

    fn pop(&mut self) -> Option<NonNull<PageStruct>> {
        let page = NonNull::new(self.top)?;
        // SAFETY: By the type invariant the page is ours and has been linked.
        self.top = unsafe { bindings::xen_rust_page_link(page.as_ptr()) };
        // SAFETY: As above.
        unsafe { bindings::xen_rust_set_page_link(page.as_ptr(), core::ptr::null_mut()) };
        // INVARIANT: One less.
        self.len -= 1;
        Some(page)
    }
}

/// The pages that a call is about.
///
/// # Invariants
///
/// Both have [`BLOCK_PAGES`] elements, and `len` is at most that. The first `len` of `pages` are
/// valid pages.
struct Batch {
    pages: KVec<*mut PageStruct>,
    frames: KVec<bindings::xen_pfn_t>,
    len: usize,
}

impl Batch {
    fn new() -> Result<Self> {
        // INVARIANT: There are none yet.
        Ok(Self {
            pages: KVec::from_elem(core::ptr::null_mut(), BLOCK_PAGES, GFP_KERNEL)?,
            frames: KVec::from_elem(0, BLOCK_PAGES, GFP_KERNEL)?,
            len: 0,
        })
    }

    fn pages(&self) -> &[*mut PageStruct] {
        self.pages.get(..self.len).unwrap_or_default()
    }

    /// # Safety
    ///
    /// `first` is the first of a block.
    unsafe fn set_block(&mut self, first: NonNull<PageStruct>) {
        for (i, page) in self.pages.iter_mut().enumerate() {
            *page = first.as_ptr().wrapping_add(i);
        }
        // INVARIANT: The pages of a block lie side by side.
        self.len = BLOCK_PAGES;
    }

    /// # Safety
    ///
    /// The page is valid.
    unsafe fn push(&mut self, page: NonNull<PageStruct>) {
        if let Some(slot) = self.pages.get_mut(self.len) {
            *slot = page.as_ptr();
            // INVARIANT: There was room, and the page is valid.
            self.len += 1;
        }
    }

    /// Fills in the frames: by the numbers that the kernel has for them, or by those that Xen has.
    fn set_frames(&mut self, of_xen: bool) {
        for (frame, &page) in self.frames.iter_mut().zip(&self.pages).take(self.len) {
            // SAFETY: By the type invariant.
            let pfn = unsafe { bindings::xen_rust_page_to_pfn(page) };
            *frame = if of_xen {
                // SAFETY: The page has memory, hence a frame.
                unsafe { bindings::xen_rust_pfn_to_gfn(pfn) as bindings::xen_pfn_t }
            } else {
                pfn as bindings::xen_pfn_t
            };
        }
    }

    /// Where the pages lie side by side from a boundary of a block on, be it upwards or downwards,
    /// and make one: the first of them.
    fn as_block(&self) -> Option<NonNull<PageStruct>> {
        let (&first, &last) = (self.pages().first()?, self.pages().last()?);
        if self.len != BLOCK_PAGES {
            return None;
        }
        // SAFETY: By the type invariant.
        let (up, down) = unsafe {
            (
                bindings::xen_rust_page_to_pfn(first),
                bindings::xen_rust_page_to_pfn(last),
            )
        };
        let (low, lowest) = if up < down { (up, first) } else { (down, last) };
        let side_by_side = self.pages().iter().enumerate().all(|(i, &page)| {
            // SAFETY: By the type invariant.
            let pfn = unsafe { bindings::xen_rust_page_to_pfn(page) };
            if up < down {
                pfn.checked_sub(low) == Some(i)
            } else {
                up.checked_sub(pfn) == Some(i)
            }
        });
        if side_by_side && low % BLOCK_PAGES == 0 {
            NonNull::new(lowest)
        } else {
            None
        }
    }

    /// Calls `f` with runs of pages of one zone: the first and the number of each.
    fn by_zone(&self, range: core::ops::Range<usize>, f: impl Fn(*mut PageStruct, usize)) {
        let mut run: Option<(*mut PageStruct, usize)> = None;
        for &page in self.pages().get(range).unwrap_or_default() {
            run = match run {
                // SAFETY: By the type invariant.
                Some((first, len)) if unsafe { bindings::xen_rust_same_zone(first, page) } => {
                    Some((first, len + 1))
                }
                Some((first, len)) => {
                    f(first, len);
                    Some((page, 1))
                }
                None => Some((page, 1)),
            };
        }
        if let Some((first, len)) = run {
            f(first, len);
        }
    }

    /// Counts pages as being in the balloon, and as the zone's no longer.
    fn count_out(&self, range: core::ops::Range<usize>) {
        self.by_zone(range, |first, len| {
            // SAFETY: The page is valid.
            unsafe { bindings::adjust_managed_page_count(first, -(len as isize)) };
            // SAFETY: As above.
            unsafe { bindings::xen_rust_balloon_count(first, len as isize) };
        });
    }

    /// Undoes [`Batch::count_out`].
    fn count_in(&self, range: core::ops::Range<usize>) {
        self.by_zone(range, |first, len| {
            // SAFETY: The page is valid.
            unsafe { bindings::xen_rust_balloon_count(first, -(len as isize)) };
            // SAFETY: As above.
            unsafe { bindings::adjust_managed_page_count(first, len as isize) };
        });
    }
}

/// The pages of this domain that have no memory.
///
/// # Invariants
///
/// The pages on the stacks are owned, marked as offline, counted as being in the balloon, and have
/// no memory, nor are they mapped in a paravirtual domain. `blocks` has first pages of
/// [`BLOCK_PAGES`] pages, aligned to that.
pub struct Reservoir {
    blocks: Stack,
    singles: Stack,
    batch: Batch,
    hotplug: Option<Hotplug>,
}

// SAFETY: Ownership of the pages is not tied to a thread.
unsafe impl Send for Reservoir {}

impl Reservoir {
    /// Borrows the pages that the kernel has in its list.
    ///
    /// There can be only one at a time. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // INVARIANT: The stacks are empty.
        let mut this = Self {
            blocks: Stack::new(),
            singles: Stack::new(),
            batch: Batch::new()?,
            // Without it there is what there is.
            hotplug: Hotplug::new().ok(),
        };
        // Pages come in descending order, mostly. The first ones bring us to where a block ends.
        let mut want = 1;
        loop {
            // The kernel would go and give pages to Xen for more than it has.
            let count = stats::balloon_low().min(want);
            if count == 0 {
                break;
            }
            // SAFETY: There is room for so many. Those in front of them stay valid, if we say so
            // where it succeeds.
            let err = unsafe {
                bindings::xen_alloc_ballooned_pages(
                    count as kernel::ffi::c_uint,
                    this.batch.pages.as_mut_ptr(),
                )
            };
            if err != 0 {
                break;
            }
            // The kernel counts them as lent out, to a user of grants. They are not.
            //
            // SAFETY: May be called anywhere.
            unsafe { bindings::xen_rust_balloon_unpopulated(-(count as isize)) };
            // INVARIANT: The function has filled them in.
            this.batch.len = count;

            let block = this.batch.as_block();
            this.batch.by_zone(0..count, |first, len| {
                // SAFETY: The page is valid.
                unsafe { bindings::xen_rust_balloon_count(first, len as isize) };
            });
            this.keep(0, block);
            let last = this.batch.pages().last();
            // SAFETY: The page is valid.
            want = match last.map(|&page| unsafe { bindings::xen_rust_page_to_pfn(page) }) {
                Some(pfn) if pfn % BLOCK_PAGES != 0 => pfn % BLOCK_PAGES,
                _ => BLOCK_PAGES,
            };
        }
        Ok(this)
    }

    /// How many pages there are in it.
    pub fn len(&self) -> usize {
        self.blocks
            .len
            .saturating_mul(BLOCK_PAGES)
            .saturating_add(self.singles.len)
    }

    /// Whether there are no pages in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`Reservoir::grow`] can do anything.
    pub fn can_grow(&self) -> bool {
        self.hotplug.is_some()
    }

    /// Has pages for `want` more come into the reservoir, when there are none in it.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EAGAIN` while pages have to be brought online by the system's administrator, `ENOENT` where
    /// there can be no more.
    pub fn grow(&mut self, want: usize) -> Result {
        let Some(hotplug) = &self.hotplug else {
            return Err(ENOENT);
        };
        if stats::current_pages() >= maximum_pages() {
            return Err(ENOENT);
        }
        hotplug.collect(&mut self.blocks, &mut self.singles);
        if !self.is_empty() {
            return Ok(());
        }
        loop {
            match hotplug.add(want) {
                Ok(()) => {}
                Err(EAGAIN) => break,
                Err(e) => {
                    pr_warn!("cannot add memory: {e:?}\n");
                    return Err(ENOENT);
                }
            }
            hotplug.collect(&mut self.blocks, &mut self.singles);
            if !self.is_empty() {
                return Ok(());
            }
        }
        Err(EAGAIN)
    }

    /// Marks the batch's pages from number `from` on, which have lost their memory, and puts them
    /// onto the stacks: all of them as the block that starts with `block`, if they are one.
    fn keep(&mut self, from: usize, block: Option<NonNull<PageStruct>>) {
        if let Some(block) = block {
            // SAFETY: The pages of a block lie side by side, and are ours.
            unsafe { bindings::xen_rust_balloon_mark(block.as_ptr(), BLOCK_PAGES) };
            // SAFETY: The batch owned it.
            unsafe { self.blocks.push(block) };
            return;
        }
        for &page in self.batch.pages().get(from..).unwrap_or_default() {
            let Some(page) = NonNull::new(page) else {
                continue;
            };
            // SAFETY: The page is ours.
            unsafe { bindings::xen_rust_balloon_mark(page.as_ptr(), 1) };
            // SAFETY: The batch owned it.
            unsafe { self.singles.push(page) };
        }
    }

    /// Hands the batch's pages in `range` to the kernel's allocator, without counting them.
    fn free(&mut self, range: core::ops::Range<usize>) {
        for &page in self.batch.pages().get(range).unwrap_or_default() {
            // SAFETY: The page is ours, has memory and is not marked. It is not used afterwards.
            unsafe { bindings::xen_rust_balloon_free_page(page) };
        }
    }

    /// Gives up to `want` pages to Xen, no more than [`BLOCK_PAGES`], and returns how many.
    ///
    /// With `scrub` set they are cleared before. May sleep, but does not wait for memory long.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the kernel has no pages to spare, `EBUSY` when Xen takes none.
    pub fn give(&mut self, want: usize, scrub: bool) -> Result<usize> {
        let block = if want >= BLOCK_PAGES {
            // SAFETY: May sleep.
            NonNull::new(unsafe { bindings::xen_rust_balloon_alloc_block(BLOCK_ORDER, scrub) })
        } else {
            None
        };
        match block {
            // SAFETY: The allocator hands out blocks that are aligned to their size.
            Some(block) => unsafe { self.batch.set_block(block) },
            None => {
                self.batch.pages.fill(core::ptr::null_mut());
                let want = want.min(BLOCK_PAGES);
                // SAFETY: There is room for so many, and it is null.
                let got = unsafe {
                    bindings::xen_rust_balloon_alloc_pages(
                        want,
                        self.batch.pages.as_mut_ptr(),
                        scrub,
                    )
                };
                // INVARIANT: The function has filled them in.
                self.batch.len = got.min(want);
            }
        }
        let len = self.batch.len;
        if len == 0 {
            return Err(ENOMEM);
        }

        let given = self.give_batch();
        self.batch.count_out(0..given);
        self.free(given..len);
        // The ones that are left have been freed.
        //
        // INVARIANT: It is at most what it was.
        self.batch.len = given;
        self.keep(0, block.filter(|_| given == len));
        // SAFETY: May be called anywhere.
        unsafe { bindings::xen_rust_balloon_moved(-(given as isize)) };
        if given == 0 {
            return Err(EBUSY);
        }
        Ok(given)
    }

    /// Gives the batch to Xen. Returns how many pages were taken, from the front.
    ///
    /// Page by page, though a list of them at a time: Xen takes the pages of a larger extent one
    /// by one too, but lets nothing else happen to this CPU meanwhile.
    fn give_batch(&mut self) -> usize {
        let len = self.batch.len;
        let pv = domain::is_pv();
        self.batch.set_frames(pv);

        if pv {
            // SAFETY: The pages are ours, and nobody uses them.
            unsafe { bindings::xen_rust_va_mapping_reset(len, self.batch.pages.as_mut_ptr()) };
            // Otherwise a CPU that remembers the old frame of a page would go on using that when
            // the page has got another one.
            //
            // SAFETY: May be called anywhere.
            unsafe { bindings::xen_rust_pv_flush_tlb_all() };
        }
        // SAFETY: The frames are those of our pages, that nobody uses and that are not mapped.
        let done = unsafe { bindings::xen_rust_decrease(self.batch.frames.as_mut_ptr(), len, 0) };
        let done = usize::try_from(done).unwrap_or(0).min(len);
        if pv && done < len {
            if let (Some(pages), Some(frames)) = (
                self.batch.pages.get_mut(done..len),
                self.batch.frames.get_mut(done..len),
            ) {
                // SAFETY: These frames are still ours, and belong to these pages.
                unsafe {
                    bindings::xen_rust_va_mapping_update(
                        len - done,
                        pages.as_mut_ptr(),
                        frames.as_mut_ptr(),
                    )
                };
            }
        }
        done
    }

    /// Takes up to `want` pages from Xen, no more than [`BLOCK_PAGES`], and returns how many. They
    /// are the kernel's to use.
    ///
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the reservoir is empty, `EBUSY` when Xen has no page for this domain.
    pub fn take(&mut self, want: usize) -> Result<usize> {
        let mut block = None;
        self.batch.len = 0;
        if want >= BLOCK_PAGES || self.singles.len == 0 {
            block = self.blocks.pop();
        }
        if let Some(first) = block {
            // SAFETY: It was on the stack of blocks.
            unsafe { self.batch.set_block(first) };
            if want < BLOCK_PAGES {
                // The block breaks up: the rest is for later.
                block = None;
                self.split(want);
            }
        } else {
            while self.batch.len < want.min(BLOCK_PAGES) {
                let Some(page) = self.singles.pop() else {
                    break;
                };
                // SAFETY: The page was on the stack.
                unsafe { self.batch.push(page) };
            }
        }
        let len = self.batch.len;
        if len == 0 {
            return Err(ENOENT);
        }

        let taken = self.take_batch(block.is_some());
        match block.filter(|_| taken == len) {
            Some(first) => {
                // SAFETY: The pages are ours.
                unsafe { bindings::xen_rust_balloon_unmark(first.as_ptr(), BLOCK_PAGES) };
                // SAFETY: The page is valid.
                unsafe { bindings::xen_rust_balloon_count(first.as_ptr(), -(len as isize)) };
                // SAFETY: The block is ours and has memory. It is not used afterwards.
                unsafe { bindings::xen_rust_balloon_free_block(first.as_ptr(), BLOCK_ORDER) };
            }
            None => {
                for &page in self.batch.pages().get(..taken).unwrap_or_default() {
                    // SAFETY: The page is ours.
                    unsafe { bindings::xen_rust_balloon_unmark(page, 1) };
                }
                self.batch.count_in(0..taken);
                self.free(0..taken);
                // What Xen had nothing for has been marked all along.
                for i in taken..len {
                    if let Some(page) = self.batch.pages.get(i).and_then(|&p| NonNull::new(p)) {
                        // SAFETY: The batch owned it.
                        unsafe { self.singles.push(page) };
                    }
                }
            }
        }
        self.batch.len = 0;
        // SAFETY: May be called anywhere.
        unsafe { bindings::xen_rust_balloon_moved(taken as isize) };
        if taken == 0 {
            return Err(EBUSY);
        }
        Ok(taken)
    }

    /// Puts all pages of the batch but the first `keep` onto the stack of single pages.
    fn split(&mut self, keep: usize) {
        while self.batch.len > keep {
            // INVARIANT: It becomes less.
            self.batch.len -= 1;
            let page = self.batch.pages.get(self.batch.len);
            if let Some(page) = page.and_then(|&page| NonNull::new(page)) {
                // SAFETY: The batch owned it, and has dropped it.
                unsafe { self.singles.push(page) };
            }
        }
    }

    /// Has Xen put memory behind the batch's pages. Returns for how many, from the front.
    fn take_batch(&mut self, block: bool) -> usize {
        let len = self.batch.len;
        self.batch.set_frames(false);

        if block {
            // SAFETY: The frame is the first of a block of ours, that has no memory.
            let done = unsafe {
                bindings::xen_rust_populate(self.batch.frames.as_mut_ptr(), 1, BLOCK_ORDER)
            };
            if done == 1 {
                self.map_block();
                return len;
            }
            // Xen may have that much in single pages.
        }

        // SAFETY: The frames are those of our pages, that have no memory.
        let done = unsafe { bindings::xen_rust_populate(self.batch.frames.as_mut_ptr(), len, 0) };
        let done = usize::try_from(done).unwrap_or(0).min(len);
        // Where page tables are written through Xen, that has replaced the numbers by those of the
        // frames that it chose.
        self.map(done);
        done
    }

    /// Maps the batch's pages, which Xen has put memory behind in one piece.
    fn map_block(&mut self) {
        // There it has told only of the first frame.
        if domain::is_pv() {
            let first = self.batch.frames.first().copied().unwrap_or_default();
            for (frame, number) in self.batch.frames.iter_mut().zip(first..) {
                *frame = number;
            }
        }
        self.map(self.batch.len);
    }

    /// Maps the first `count` pages of the batch, which have the batch's frames behind them. Nothing
    /// to do where page tables are not written through Xen.
    fn map(&mut self, count: usize) {
        // SAFETY: The pages are ours, and these are their frames now.
        unsafe {
            bindings::xen_rust_va_mapping_update(
                count.min(self.batch.len),
                self.batch.pages.as_mut_ptr(),
                self.batch.frames.as_mut_ptr(),
            )
        };
    }
}

impl Drop for Reservoir {
    fn drop(&mut self) {
        if let Some(hotplug) = self.hotplug.take() {
            hotplug.end(&mut self.blocks, &mut self.singles);
        }
        loop {
            self.batch.len = 0;
            if let Some(block) = self.blocks.pop() {
                // SAFETY: It was on the stack of blocks.
                unsafe { self.batch.set_block(block) };
            } else {
                while self.batch.len < BLOCK_PAGES {
                    let Some(page) = self.singles.pop() else {
                        break;
                    };
                    // SAFETY: The page was on the stack.
                    unsafe { self.batch.push(page) };
                }
            }
            let len = self.batch.len;
            if len == 0 {
                break;
            }
            // The kernel counts them itself.
            self.batch.by_zone(0..len, |first, len| {
                // SAFETY: The page is valid.
                unsafe { bindings::xen_rust_balloon_count(first, -(len as isize)) };
            });
            // And it believes that it had lent them.
            //
            // SAFETY: May be called anywhere.
            unsafe { bindings::xen_rust_balloon_unpopulated(len as isize) };
            // SAFETY: The pages are ours, have no memory, and are not used afterwards.
            unsafe {
                bindings::xen_free_ballooned_pages(
                    len as kernel::ffi::c_uint,
                    self.batch.pages.as_mut_ptr(),
                )
            };
        }
    }
}
