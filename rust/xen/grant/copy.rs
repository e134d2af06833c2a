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
        pinned::PinnedPages,
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
        let mut op = bindings::gnttab_copy {
            len,
            status: 1,
            ..Default::default()
        };
        if self.fill(&mut op.source, source)? {
            op.flags |= bindings::GNTCOPY_source_gref as u16;
        }
        if self.fill(&mut op.dest, dest)? {
            op.flags |= bindings::GNTCOPY_dest_gref as u16;
        }
        self.ops.push_within_capacity(op).map_err(|_| ENOSPC)?;
        self.written
            .push_within_capacity(written)
            .map_err(|_| ENOSPC)
    }

    /// Tells Xen of a side. Returns whether it is a grant.
    #[inline]
    fn fill(&self, to: &mut bindings::gnttab_copy_gnttab_copy_ptr, side: Side<'_>) -> Result<bool> {
        Ok(match side {
            Side::Grant {
                right,
                reference,
                offset,
            } => {
                to.u.ref_ = reference.raw();
                to.domid = right.domain().raw();
                to.offset = offset;
                true
            }
            Side::Local { page, offset } => {
                to.u.gmfn = self.frame(page)?;
                to.domid = DomId::SELF.raw();
                to.offset = offset;
                false
            }
        })
    }

    fn frame(&self, page: usize) -> Result<bindings::xen_pfn_t> {
        let pfn = self.pages.pfn(page).ok_or(EINVAL)?;
        // SAFETY: Translates a number.
        Ok(unsafe { bindings::xen_rust_pfn_to_gfn(pfn.raw()) } as bindings::xen_pfn_t)
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
        let asked = Self::ask(self.ops.as_mut_ptr(), len).and_then(|()| self.retry());
        for (op, written) in self.ops.iter().zip(&self.written) {
            if let Some(page) = written.filter(|_| op.status == OKAY) {
                self.pages.mark_dirty(page);
            }
        }
        asked
    }

    /// Asks again for what was paged out.
    fn retry(&mut self) -> Result {
        for op in &mut self.ops {
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
                Self::ask(op, 1)?;
            }
        }
        Ok(())
    }

    fn ask(ops: *mut bindings::gnttab_copy, len: c_uint) -> Result {
        // SAFETY: There are `len` operations. The frames among them are of pages that are pinned,
        // for writing where they are written to: the process could write there itself.
        to_result(unsafe {
            bindings::xen_rust_grant_table_op(bindings::GNTTABOP_copy, ops.cast(), len)
        })
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
