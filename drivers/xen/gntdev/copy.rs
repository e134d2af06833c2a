// SPDX-License-Identifier: GPL-2.0

//! `IOCTL_GNTDEV_GRANT_COPY`: copying between grants and the memory of the process.
//!
//! Segments are taken together until the next might not fit into a page of operations. The pages
//! of the process that neighbouring segments touch are pinned in one go where they lie one after
//! the other.

use super::segment::{
    Piece,
    Place,
    Segment,
    PIECES_MAX,
    SEGMENT_SIZE,
    STATUS_OFFSET, //
};
use kernel::{
    page::{
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    }, //
};
use xen::{
    domid::DomId,
    ext::task,
    grant::{
        copy::{
            copy_one,
            CopyBatch,
            End,
            Side,
            COPY_BATCH, //
        },
        Ref, //
    },
    restriction::Restriction, //
};

/// Copies the only segment, at `at`, and writes to it what became of it. Needs no [`Copier`].
///
/// Returns whether it did: a segment that crosses a page, or is empty, it leaves alone.
///
/// # Errors
///
/// As [`Copier::run`].
#[inline]
pub(crate) fn copy_single(at: usize, restriction: &Restriction) -> Result<bool> {
    task::checkpoint()?;
    let segment = UserSlice::new(UserPtr::from_addr(at), SEGMENT_SIZE)
        .reader()
        .read::<[u64; 3]>()?;
    let segment = Segment::read(segment).ok_or(EINVAL)?;
    if !segment.is_one_piece() {
        return Ok(false);
    }
    let end = |place| -> Result<End<'_>> {
        Ok(match place {
            Place::Grant {
                domid,
                reference,
                offset,
            } => End::Grant {
                right: restriction.check(DomId::new(domid)).map_err(|_| EPERM)?,
                reference: Ref::new(reference),
                offset,
            },
            Place::Local(address) => End::Local(usize::try_from(address).map_err(|_| EFAULT)?),
        })
    };
    let status = copy_one(end(segment.source)?, end(segment.dest)?, segment.len)?;
    let status_at = at.checked_add(STATUS_OFFSET).ok_or(EFAULT)?;
    UserSlice::new(UserPtr::from_addr(status_at), 2)
        .writer()
        .write(&status)?;
    Ok(true)
}

/// Segments that are copied together.
pub(crate) struct Copier {
    batch: CopyBatch,
    segments: KVVec<Pending>,
}

/// A segment, and what has been prepared for it.
struct Pending {
    segment: Segment,
    /// The first of its pinned pages.
    page: usize,
    /// How many operations it has.
    ops: usize,
}

/// A run of pages of the process, to be pinned in one go.
struct Run {
    /// By number: the address in pages.
    first: usize,
    /// One past the last.
    end: usize,
    writable: bool,
    /// The index that the first page will have.
    index: usize,
}

impl Copier {
    /// Makes room for the copies of one call to Xen.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            batch: CopyBatch::new()?,
            segments: KVVec::with_capacity(COPY_BATCH, GFP_KERNEL)?,
        })
    }

    /// Copies `count` segments from the array at `array`, and writes to each what became of it.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a segment without a grant or one that leaves a page, `EPERM` for a grant of a
    /// domain that `restriction` does not allow, `EFAULT`, `EINTR`, `ENOMEM`. What has been copied
    /// by then stays copied.
    pub(crate) fn run(&mut self, count: usize, array: usize, restriction: &Restriction) -> Result {
        let mut result = Ok(());
        let mut next = 0;
        while next < count && result.is_ok() {
            result = self.step(&mut next, count, array, restriction);
            self.batch.clear();
            self.segments.clear();
        }
        result
    }

    /// Copies the segments from `next` on that fit into one call to Xen, and moves `next`.
    fn step(
        &mut self,
        next: &mut usize,
        count: usize,
        array: usize,
        restriction: &Restriction,
    ) -> Result {
        task::checkpoint()?;
        let at = next
            .checked_mul(SEGMENT_SIZE)
            .and_then(|bytes| array.checked_add(bytes))
            .ok_or(EFAULT)?;
        let taken = self.gather(at, count - *next)?;
        self.pin()?;
        self.prepare(restriction)?;
        self.batch.submit()?;
        self.report(at)?;
        *next += taken;
        Ok(())
    }

    /// Reads segments, `left` at most. Returns how many.
    fn gather(&mut self, at: usize, left: usize) -> Result<usize> {
        let limit = left.min(COPY_BATCH);
        let mut reader = UserSlice::new(UserPtr::from_addr(at), limit * SEGMENT_SIZE).reader();
        let mut ops = 0;
        while self.segments.len() < limit && ops + PIECES_MAX <= COPY_BATCH {
            let segment = Segment::read(reader.read::<[u64; 3]>()?).ok_or(EINVAL)?;
            let pieces = segment.pieces().count();
            ops += pieces;
            let pending = Pending {
                segment,
                page: 0,
                ops: pieces,
            };
            self.segments
                .push_within_capacity(pending)
                .map_err(|_| ENOMEM)?;
        }
        Ok(self.segments.len())
    }

    /// Pins the pages of the process that the segments touch.
    fn pin(&mut self) -> Result {
        let mut run: Option<Run> = None;
        for pending in &mut self.segments {
            let (Some((address, writable)), 1..) = (pending.segment.local(), pending.ops) else {
                continue;
            };
            let address = usize::try_from(address).map_err(|_| EFAULT)?;
            let last = address
                .checked_add(usize::from(pending.segment.len) - 1)
                .ok_or(EFAULT)?;
            let (first, end) = (address >> PAGE_SHIFT, (last >> PAGE_SHIFT) + 1);

            match &mut run {
                // The next page, or the last one again.
                Some(run)
                    if run.writable == writable
                        && run.first <= first
                        && (first == run.end || first + 1 == run.end) =>
                {
                    run.end = run.end.max(end);
                    pending.page = run.index + (first - run.first);
                }
                _ => {
                    let index = match run.take() {
                        Some(run) => run.pin(&mut self.batch)?,
                        None => 0,
                    };
                    pending.page = index;
                    run = Some(Run {
                        first,
                        end,
                        writable,
                        index,
                    });
                }
            }
        }
        if let Some(run) = run {
            run.pin(&mut self.batch)?;
        }
        Ok(())
    }

    /// Makes operations of the segments.
    fn prepare(&mut self, restriction: &Restriction) -> Result {
        for pending in &self.segments {
            let segment = &pending.segment;
            let side = |place, page, piece: Piece| -> Result<Side<'_>> {
                Ok(match place {
                    Place::Grant {
                        domid,
                        reference,
                        offset,
                    } => Side::Grant {
                        right: restriction.check(DomId::new(domid)).map_err(|_| EPERM)?,
                        reference: Ref::new(reference),
                        // Within a page, as has been checked.
                        offset: offset.wrapping_add(piece.at),
                    },
                    Place::Local(address) => Side::Local {
                        page,
                        offset: (address.wrapping_add(u64::from(piece.at)) % PAGE_SIZE as u64)
                            as u16,
                    },
                })
            };
            for (number, piece) in segment.pieces().enumerate() {
                let page = pending.page + number;
                self.batch.push(
                    side(segment.source, page, piece)?,
                    side(segment.dest, page, piece)?,
                    piece.len,
                )?;
            }
        }
        Ok(())
    }

    /// Writes the status of each segment: that of its first operation that failed.
    fn report(&self, at: usize) -> Result {
        let mut op = 0;
        let mut status_at = at.checked_add(STATUS_OFFSET).ok_or(EFAULT)?;
        for pending in &self.segments {
            let status = (op..op + pending.ops)
                .map(|op| self.batch.status(op))
                .find(|&status| status != 0)
                .unwrap_or(0);
            UserSlice::new(UserPtr::from_addr(status_at), 2)
                .writer()
                .write(&status)?;
            op += pending.ops;
            status_at = status_at.checked_add(SEGMENT_SIZE).ok_or(EFAULT)?;
        }
        Ok(())
    }
}

impl Run {
    /// Pins the run. Returns the index of the page after it.
    fn pin(self, batch: &mut CopyBatch) -> Result<usize> {
        let address = self.first << PAGE_SHIFT;
        let length = (self.end - self.first) << PAGE_SHIFT;
        Ok(batch.pin(address, length, self.writable)?.end)
    }
}
