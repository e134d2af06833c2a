// SPDX-License-Identifier: GPL-2.0

//! How a range of user space gets filled with foreign frames: what state it is in, which requests
//! fit it, and how a request is cut to pieces.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// Bytes of a page, and of a frame of Xen.
pub const PAGE_SIZE: usize = 4096;

/// Where a range lies in user space.
///
/// # Invariants
///
/// Both ends are multiples of [`PAGE_SIZE`], and `start < end`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    start: usize,
    end: usize,
}

impl Extent {
    /// The range between two addresses, unless that is empty or cuts a page.
    pub const fn new(start: usize, end: usize) -> Option<Self> {
        if start < end && start % PAGE_SIZE == 0 && end % PAGE_SIZE == 0 {
            // INVARIANT: Just checked.
            Some(Self { start, end })
        } else {
            None
        }
    }

    /// Its length in pages, at least one.
    pub const fn pages(&self) -> usize {
        (self.end - self.start) / PAGE_SIZE
    }

    /// Where in the range `pages` pages at `address` lie; [`None`] unless they are whole pages
    /// of it, and at least one.
    pub fn span(&self, address: usize, pages: usize) -> Option<Span> {
        let offset = address.checked_sub(self.start)?;
        if pages == 0 || offset % PAGE_SIZE != 0 {
            return None;
        }
        let first = offset / PAGE_SIZE;
        let end = first.checked_add(pages)?;
        if end > self.pages() {
            return None;
        }
        // INVARIANT: Just checked.
        Some(Span { first, pages })
    }
}

/// A run of pages within a range.
///
/// # Invariants
///
/// `pages` is not 0, and `first + pages` does not exceed the length of the range it was made for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Span {
    first: usize,
    pages: usize,
}

impl Span {
    /// The first page, counted from the start of the range.
    pub const fn first(&self) -> usize {
        self.first
    }

    /// How many pages.
    pub const fn pages(&self) -> usize {
        self.pages
    }
}

/// What a range holds.
///
/// ```text
///             begin                 finish
///   Fresh ------------> Filling ------------> Partly | Filled
///   Partly ----------->    |
///     ^                    | (failed)
///     +--------------------+ back to where it began
/// ```
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has been mapped yet.
    Fresh,
    /// A call is filling it.
    Filling,
    /// It has been filled, but for some pages; this many pages have a frame.
    Partly(usize),
    /// Every page has a frame.
    Filled,
}

/// How a request wants to fill a range.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fill {
    /// All of a fresh range; or, later, a run of pages that have no frame.
    Batch,
    /// A fresh range, from its start on.
    Tiles,
    /// All of a fresh range.
    Whole,
}

/// Why a request does not fit a range.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is about other pages than it may be.
    Misplaced,
    /// The range, or a page of it, has been filled before.
    Filled,
    /// Another call is filling the range.
    Busy,
}

impl State {
    /// Begins to fill `span` of a range of `total` pages.
    ///
    /// Returns what [`State::finish`] or [`State::abandon`] want to have back.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], and the state is as before.
    pub fn begin(&mut self, total: usize, span: Span, fill: Fill) -> Result<Prior, Refusal> {
        let whole = span.first == 0 && span.pages == total;
        let filled = match (*self, fill) {
            (Self::Filling, _) => return Err(Refusal::Busy),
            (Self::Filled, _) => return Err(Refusal::Filled),
            (Self::Partly(filled), Fill::Batch) => {
                if span.pages > total.saturating_sub(filled) {
                    return Err(Refusal::Filled);
                }
                Some(filled)
            }
            (Self::Partly(_), _) => return Err(Refusal::Filled),
            (Self::Fresh, Fill::Batch | Fill::Whole) if !whole => return Err(Refusal::Misplaced),
            (Self::Fresh, Fill::Tiles) if span.first != 0 => return Err(Refusal::Misplaced),
            (Self::Fresh, _) => None,
        };
        *self = Self::Filling;
        Ok(Prior { filled })
    }

    /// The call that filled the range has given frames to `added` pages that had none.
    pub fn finish(&mut self, total: usize, prior: Prior, added: usize) {
        let filled = prior.filled.unwrap_or(0).saturating_add(added);
        *self = if filled >= total {
            Self::Filled
        } else {
            Self::Partly(filled)
        };
    }

    /// The call has failed, and taken back what it had mapped.
    pub fn abandon(&mut self, prior: Prior) {
        *self = match prior.filled {
            Some(filled) => Self::Partly(filled),
            None => Self::Fresh,
        };
    }
}

/// What a range held before a call began to fill it.
#[derive(Debug, PartialEq, Eq)]
pub struct Prior {
    filled: Option<usize>,
}

impl Prior {
    /// Whether the range had not been filled at all, so that all of its pages are empty.
    pub const fn was_fresh(&self) -> bool {
        self.filled.is_none()
    }
}

/// Cuts `total` items into pieces of `at_most`: yields where each begins and how long it is.
///
/// With `at_most` 0 there are no pieces.
#[derive(Clone, Debug)]
pub struct Pieces {
    next: usize,
    total: usize,
    at_most: usize,
}

impl Pieces {
    /// The pieces of `total` items.
    pub const fn new(total: usize, at_most: usize) -> Self {
        Self {
            next: 0,
            total,
            at_most,
        }
    }
}

impl Iterator for Pieces {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let left = self.total.saturating_sub(self.next);
        let len = left.min(self.at_most);
        if len == 0 {
            return None;
        }
        let at = self.next;
        self.next = at.saturating_add(len);
        Some((at, len))
    }
}

/// One entry of a request that tiles a range: `pages` frames in a row, at `address`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Where user space wants it.
    pub address: u64,
    /// The first frame.
    pub frame: u64,
    /// How many.
    pub pages: u64,
}

/// Lays tiles from the start of a range on, each where the one before ended.
#[derive(Clone, Debug)]
pub struct Tiling {
    extent: Extent,
    used: usize,
}

impl Tiling {
    /// Begins at the start of a range.
    pub const fn new(extent: Extent) -> Self {
        Self { extent, used: 0 }
    }

    /// Where `tile` goes; [`None`] for one without pages.
    ///
    /// # Errors
    ///
    /// [`Refusal::Misplaced`] unless it begins where the one before ended, and ends within the
    /// range, and its frame numbers do not wrap.
    pub fn lay(&mut self, tile: Tile) -> Result<Option<Span>, Refusal> {
        let next = self.extent.start.saturating_add(self.used * PAGE_SIZE);
        if tile.address != next as u64 {
            return Err(Refusal::Misplaced);
        }
        let pages = usize::try_from(tile.pages).map_err(|_| Refusal::Misplaced)?;
        if pages == 0 {
            return Ok(None);
        }
        tile.frame
            .checked_add(tile.pages)
            .ok_or(Refusal::Misplaced)?;
        let span = self.extent.span(next, pages).ok_or(Refusal::Misplaced)?;
        self.used += pages;
        Ok(Some(span))
    }
}
