// SPDX-License-Identifier: GPL-2.0

//! Copying by Xen, from and to grants, without mapping them.

use super::{
    Ref,
    OKAY, //
};
use crate::{
    bindings,
    domid::DomId,
    ext::{
        pages::Pfn,
        pinned::PinnedPages,
        pinned_one::PinnedOne,
        task, //
    },
    restriction::Authorised,
};
use core::{
    mem::size_of,
    ops::Range, //
};
use kernel::{
    error::to_result,
    ffi::c_uint,
    page::PAGE_SIZE,
    prelude::*, //
};

/// How many copies one call to Xen makes: as many as fit into a page.
pub const COPY_BATCH: usize = PAGE_SIZE / size_of::<bindings::gnttab_copy>();

/// How often Xen is asked again for a page that is paged out in the other domain, waiting longer
/// each time: 32 seconds in all, as the kernel's own drivers do.
const EAGAIN_TRIES: c_uint = 256;

/// One side of a copy.
pub enum Side<'a> {
    /// In a page that another domain grants.
    Grant {
        /// The right to act on that domain.
        right: Authorised<'a>,
        /// Its reference.
        reference: Ref,
        /// Where in the page, in bytes.
        offset: u16,
    },
    /// In a page of this process.
    Local {
        /// Which of the pinned pages, by its index.
        page: usize,
        /// Where in the page, in bytes.
        offset: u16,
    },
}

/// One side of a copy that is made alone.
pub enum End<'a> {
    /// In a page that another domain grants.
    Grant {
        /// The right to act on that domain.
        right: Authorised<'a>,
        /// Its reference.
        reference: Ref,
        /// Where in the page, in bytes.
        offset: u16,
    },
    /// At an address of this process. All of it is in one page.
    Local(usize),
}

/// Copies `len` bytes. Returns what became of it: 0, or one of Xen's `GNTST_*`.
///
/// As a [`CopyBatch`] of one copy, without allocating. May sleep.
///
/// # Errors
///
/// As [`PinnedPages::add`] and [`CopyBatch::submit`]. `EINVAL` for two sides in this process.
pub fn copy_one(source: End<'_>, dest: End<'_>, len: u16) -> Result<i16> {
    let (mut pinned, written) = match (&source, &dest) {
        (End::Local(_), End::Local(_)) => return Err(EINVAL),
        (End::Local(address), _) => (Some(PinnedOne::pin(*address, false)?), false),
        (_, End::Local(address)) => (Some(PinnedOne::pin(*address, true)?), true),
        _ => (None, false),
    };
    let side = |end: End<'_>| -> Result<Filled> {
        Ok(match end {
            End::Grant {
                right,
                reference,
                offset,
            } => Filled::grant(right, reference, offset),
            End::Local(address) => {
                let page = pinned.as_ref().ok_or(EINVAL)?;
                Filled::local(page.pfn(), (address % PAGE_SIZE) as u16)
            }
        })
    };
    let mut op = operation(side(source)?, side(dest)?, len);
    ask(&mut op, 1)?;
    let retried = retry(&mut op);
    if let (Some(page), true, OKAY) = (&mut pinned, written, op.status) {
        page.mark_dirty();
    }
    retried.map(|()| op.status)
}

/// A side of a copy as Xen is told of it.
struct Filled {
    place: bindings::gnttab_copy_gnttab_copy_ptr,
    grant: bool,
}

impl Filled {
    #[inline]
    fn grant(right: Authorised<'_>, reference: Ref, offset: u16) -> Self {
        let mut place = bindings::gnttab_copy_gnttab_copy_ptr::default();
        place.u.ref_ = reference.raw();
        place.domid = right.domain().raw();
        place.offset = offset;
        Self { place, grant: true }
    }

    #[inline]
    fn local(pfn: Pfn, offset: u16) -> Self {
        let mut place = bindings::gnttab_copy_gnttab_copy_ptr::default();
        // SAFETY: Translates a number.
        place.u.gmfn = unsafe { bindings::xen_rust_pfn_to_gfn(pfn.raw()) } as bindings::xen_pfn_t;
        place.domid = DomId::SELF.raw();
        place.offset = offset;
        Self {
            place,
            grant: false,
        }
    }
}

#[inline]
fn operation(source: Filled, dest: Filled, len: u16) -> bindings::gnttab_copy {
    let mut flags = 0;
    if source.grant {
        flags |= bindings::GNTCOPY_source_gref;
    }
    if dest.grant {
        flags |= bindings::GNTCOPY_dest_gref;
    }
    bindings::gnttab_copy {
        source: source.place,
        dest: dest.place,
        len,
        flags: flags as u16,
        status: 1,
    }
}

/// Asks Xen to make `len` copies.
#[inline]
fn ask(ops: *mut bindings::gnttab_copy, len: c_uint) -> Result {
    // SAFETY: There are `len` operations. The frames among them are of pages that are pinned, for
    // writing where they are written to: the process could write there itself.
    to_result(unsafe {
        bindings::xen_rust_grant_table_op(bindings::GNTTABOP_copy, ops.cast(), len)
    })
}

/// Asks again while a page is paged out.
#[inline]
fn retry(op: &mut bindings::gnttab_copy) -> Result {
    let mut tries = 1;
    while op.status == bindings::GNTST_eagain as i16 {
        if tries == EAGAIN_TRIES {
            op.status = bindings::GNTST_bad_page as i16;
            break;
        }
        task::checkpoint()?;
        // SAFETY: Sleeping is allowed here.
        unsafe { bindings::msleep(tries) };
        tries += 1;
        ask(op, 1)?;
    }
    Ok(())
}

/// Copies to be made by one call to Xen, and the pages of this process that they concern.
///
/// To be used again after [`CopyBatch::clear`], without allocating.
pub struct CopyBatch {
    ops: KVVec<bindings::gnttab_copy>,
    /// For each copy, the page that it writes to, if that is one of the pinned.
    written: KVVec<Option<usize>>,
    pages: PinnedPages,
}

impl CopyBatch {
    /// An empty batch. May sleep.
    pub fn new() -> Result<Self> {
        Ok(Self {
            ops: KVVec::with_capacity(COPY_BATCH, GFP_KERNEL)?,
            written: KVVec::with_capacity(COPY_BATCH, GFP_KERNEL)?,
            // Each copy has one page of this process at most.
            pages: PinnedPages::with_capacity(COPY_BATCH)?,
        })
    }

    /// Pins the pages that the `len` bytes at `addr` of the current process touch, and returns
    /// their indices.
    ///
    /// # Errors
    ///
    /// As [`PinnedPages::add`].
    pub fn pin(&mut self, addr: usize, len: usize, writable: bool) -> Result<Range<usize>> {
        self.pages.add(addr, len, writable)
    }

    /// How many copies there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Adds the copy of `len` bytes. Xen refuses one that leaves a page.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there are [`COPY_BATCH`] already, `EINVAL` for a page that is not pinned.
    pub fn push(&mut self, source: Side<'_>, dest: Side<'_>, len: u16) -> Result {
        let written = match dest {
            Side::Local { page, .. } => Some(page),
            Side::Grant { .. } => None,
        };
        let op = operation(self.fill(source)?, self.fill(dest)?, len);
        self.ops.push_within_capacity(op).map_err(|_| ENOSPC)?;
        self.written
            .push_within_capacity(written)
            .map_err(|_| ENOSPC)
    }

    #[inline]
    fn fill(&self, side: Side<'_>) -> Result<Filled> {
        Ok(match side {
            Side::Grant {
                right,
                reference,
                offset,
            } => Filled::grant(right, reference, offset),
            Side::Local { page, offset } => {
                Filled::local(self.pages.pfn(page).ok_or(EINVAL)?, offset)
            }
        })
    }

    /// Asks Xen. What became of each copy is in [`CopyBatch::status`] then.
    ///
    /// Waits while a page is paged out in the other domain. May sleep.
    ///
    /// # Errors
    ///
    /// `EINTR` when a fatal signal is pending during such a wait; what Xen says when it did not
    /// look at the copies at all.
    pub fn submit(&mut self) -> Result {
        if self.ops.is_empty() {
            return Ok(());
        }
        let len = self.ops.len() as c_uint;
        // The pages are written to while they are pinned, by whatever copies succeed.
        let asked =
            ask(self.ops.as_mut_ptr(), len).and_then(|()| self.ops.iter_mut().try_for_each(retry));
        for (op, written) in self.ops.iter().zip(&self.written) {
            if let Some(page) = written.filter(|_| op.status == OKAY) {
                self.pages.mark_dirty(page);
            }
        }
        asked
    }

    /// What became of copy `index`: 0, or one of Xen's `GNTST_*`.
    #[inline]
    pub fn status(&self, index: usize) -> i16 {
        self.ops.get(index).map_or(0, |op| op.status)
    }

    /// Forgets the copies and unpins the pages. May sleep.
    pub fn clear(&mut self) {
        self.ops.clear();
        self.written.clear();
        self.pages.clear();
    }
}
