// SPDX-License-Identifier: GPL-2.0

//! Grants of other domains: mapping them and letting go of them.
//!
//! Xen names a mapping by a [`Handle`], which goes to Xen once to be unmapped; what comes back is
//! the proof that Xen let go, or the handle. [`GrantPages`] keeps pages together with what is
//! mapped into them, so that none returns to the kernel's pool while Xen still holds a grant there.
//!
//! C headers: `include/xen/grant_table.h`, `xen/include/public/grant_table.h`.

use crate::{
    bindings,
    restriction::Authorised,
    unpopulated::Unpopulated, //
};
use core::mem::MaybeUninit;
use kernel::{
    ffi::c_uint,
    prelude::*, //
};

pub mod copy;
pub mod give;
mod pages;
mod ptes;
pub mod slot;

pub use pages::{
    GrantPages,
    Mark,
    Release, //
};
pub use ptes::UserPtes;

/// A grant reference: the number by which a domain names a page that it offers.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Ref(u32);

impl Ref {
    /// Wraps a number.
    #[inline]
    pub const fn new(reference: u32) -> Self {
        Self(reference)
    }

    /// The number.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

/// What Xen calls one mapping of a grant. Cannot be copied: a mapping is unmapped once.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Handle(u32);

/// The proof that Xen let go of a mapping.
#[derive(Debug)]
pub struct Released(());

impl slot::MappingHandle for Handle {
    type Released = Released;
}

/// How a grant is mapped.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    ReadOnly,
    /// For reading and writing: Xen refuses if the grant is for reading only.
    ReadWrite,
}

impl Access {
    fn flags(self) -> u32 {
        bindings::GNTMAP_host_map
            | match self {
                Self::ReadOnly => bindings::GNTMAP_readonly,
                Self::ReadWrite => 0,
            }
    }
}

/// The machine address of a page table entry of user space (PV).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct PteAddress(u64);

/// Xen's status for success. Other values are errors.
const OKAY: i16 = bindings::GNTST_okay as i16;

/// How many mappings one call to Xen makes. The batch is on the stack.
const MAP_BATCH: usize = 32;

/// How many mappings one call to Xen removes: as many as Xen itself does with one TLB flush.
const UNMAP_BATCH: usize = 32;

/// What became of one grant of a [`MapBatch`].
struct Mapped {
    /// The kernel's own mapping, in the page.
    page: Option<Handle>,
    /// The mapping in the page table entry of user space.
    user: Option<Handle>,
}

/// Grants to be mapped by one call to Xen.
///
/// # Invariants
///
/// The first `len` elements of `ops`, and of `kernel_ops` if `user`, and of `pages` are
/// initialised.
struct MapBatch {
    len: usize,
    user: bool,
    ops: [MaybeUninit<bindings::gnttab_map_grant_ref>; MAP_BATCH],
    kernel_ops: [MaybeUninit<bindings::gnttab_map_grant_ref>; MAP_BATCH],
    pages: [MaybeUninit<*mut bindings::page>; MAP_BATCH],
}

impl MapBatch {
    /// An empty batch; `user` if each grant is mapped into a page table entry of user space too.
    #[inline]
    fn new(user: bool) -> Self {
        Self {
            len: 0,
            user,
            ops: [const { MaybeUninit::uninit() }; MAP_BATCH],
            kernel_ops: [const { MaybeUninit::uninit() }; MAP_BATCH],
            pages: [const { MaybeUninit::uninit() }; MAP_BATCH],
        }
    }

    /// Adds the grant `reference` of the authorised domain, to be mapped into `page`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the batch is full, or there is no `pte` where one is needed.
    #[inline]
    fn push(
        &mut self,
        right: Authorised<'_>,
        reference: Ref,
        access: Access,
        page: Unpopulated<'_>,
        pte: Option<PteAddress>,
    ) -> Result {
        let (Some(op), Some(kernel_op), Some(slot)) = (
            self.ops.get_mut(self.len),
            self.kernel_ops.get_mut(self.len),
            self.pages.get_mut(self.len),
        ) else {
            return Err(EINVAL);
        };
        let in_page = bindings::gnttab_map_grant_ref {
            host_addr: page.host_addr(),
            flags: access.flags(),
            ref_: reference.raw(),
            dom: right.domain().raw(),
            // Neither success nor an error: where it stays, Xen did not get so far.
            status: 1,
            handle: 0,
            dev_bus_addr: 0,
        };
        if self.user {
            op.write(bindings::gnttab_map_grant_ref {
                host_addr: pte.ok_or(EINVAL)?.0,
                // The bit makes the entry a special one.
                flags: access.flags()
                    | bindings::GNTMAP_application_map
                    | bindings::GNTMAP_contains_pte
                    | 1 << bindings::_GNTMAP_guest_avail0,
                ..in_page
            });
            kernel_op.write(in_page);
        } else {
            op.write(in_page);
        }
        slot.write(page.as_ptr());
        // INVARIANT: The element has been written.
        self.len += 1;
        Ok(())
    }

    /// Asks Xen, and tells what became of each grant, in order. Leaves the batch empty.
    ///
    /// Waits while a page is paged out in the other domain. May sleep.
    #[inline]
    fn submit(&mut self) -> impl Iterator<Item = Mapped> + '_ {
        let len = core::mem::replace(&mut self.len, 0);
        let user = self.user;
        let kernel_ops = if user {
            self.kernel_ops.as_mut_ptr().cast()
        } else {
            core::ptr::null_mut()
        };
        if len != 0 {
            // The result says no more than the states of the single operations do.
            //
            // SAFETY: By the type invariant the operations and the pages are initialised. The
            // pages are the caller's, and have nothing in them.
            unsafe {
                bindings::xen_rust_map_refs(
                    self.ops.as_mut_ptr().cast(),
                    kernel_ops,
                    self.pages.as_mut_ptr().cast(),
                    len as c_uint,
                )
            };
        }
        let ops = self.ops.iter().zip(&self.kernel_ops).take(len);
        ops.map(move |(op, kernel_op)| {
            // SAFETY: By the type invariant.
            let op = Self::handle(unsafe { op.assume_init_ref() });
            if user {
                Mapped {
                    // SAFETY: By the type invariant.
                    page: Self::handle(unsafe { kernel_op.assume_init_ref() }),
                    user: op,
                }
            } else {
                Mapped {
                    page: op,
                    user: None,
                }
            }
        })
    }

    #[inline]
    fn handle(op: &bindings::gnttab_map_grant_ref) -> Option<Handle> {
        (op.status == OKAY && op.handle != u32::MAX).then_some(Handle(op.handle))
    }
}

/// Mappings to be removed by one call to Xen.
///
/// # Invariants
///
/// The first `len` elements of `ops`, `pages` and `places` are initialised.
struct UnmapBatch {
    len: usize,
    ops: [MaybeUninit<bindings::gnttab_unmap_grant_ref>; UNMAP_BATCH],
    pages: [MaybeUninit<*mut bindings::page>; UNMAP_BATCH],
    places: [MaybeUninit<usize>; UNMAP_BATCH],
}

impl UnmapBatch {
    #[inline]
    fn new() -> Self {
        Self {
            len: 0,
            ops: [const { MaybeUninit::uninit() }; UNMAP_BATCH],
            pages: [const { MaybeUninit::uninit() }; UNMAP_BATCH],
            places: [const { MaybeUninit::uninit() }; UNMAP_BATCH],
        }
    }

    /// Adds the mapping `handle` at `host_addr`, which is that of `page` if the page goes with it.
    /// Xen's answer comes with `place`. Gives the handle back when the batch is full.
    #[inline]
    fn add(
        &mut self,
        host_addr: u64,
        page: *mut bindings::page,
        place: usize,
        handle: Handle,
    ) -> Result<(), Handle> {
        let (Some(op), Some(page_slot), Some(place_slot)) = (
            self.ops.get_mut(self.len),
            self.pages.get_mut(self.len),
            self.places.get_mut(self.len),
        ) else {
            return Err(handle);
        };
        op.write(bindings::gnttab_unmap_grant_ref {
            host_addr,
            dev_bus_addr: 0,
            handle: handle.0,
            status: 1,
        });
        page_slot.write(page);
        place_slot.write(place);
        // INVARIANT: The elements have been written.
        self.len += 1;
        Ok(())
    }

    /// Asks Xen to remove mappings of pages, after which the pages are nobody's any more.
    fn submit_pages(&mut self, each: impl FnMut(usize, Result<Released, Handle>)) {
        self.submit(each, |ops, pages, len| {
            // SAFETY: The operations and the pages are initialised, and are of the same mappings.
            unsafe { bindings::gnttab_unmap_refs(ops, core::ptr::null_mut(), pages, len) };
        });
    }

    /// Asks Xen to remove mappings in page table entries of user space. The pages keep theirs.
    fn submit_user(&mut self, each: impl FnMut(usize, Result<Released, Handle>)) {
        self.submit(each, |ops, _, len| {
            // SAFETY: The operations are initialised.
            unsafe {
                bindings::xen_rust_grant_table_op(
                    bindings::GNTTABOP_unmap_grant_ref,
                    ops.cast(),
                    len,
                )
            };
        });
    }

    fn submit(
        &mut self,
        mut each: impl FnMut(usize, Result<Released, Handle>),
        ask: impl FnOnce(*mut bindings::gnttab_unmap_grant_ref, *mut *mut bindings::page, c_uint),
    ) {
        let len = core::mem::replace(&mut self.len, 0);
        if len == 0 {
            return;
        }
        ask(
            self.ops.as_mut_ptr().cast(),
            self.pages.as_mut_ptr().cast(),
            len as c_uint,
        );
        for (op, place) in self.ops.iter().zip(&self.places).take(len) {
            // SAFETY: By the type invariant.
            let op = unsafe { op.assume_init_ref() };
            each(
                // SAFETY: By the type invariant.
                unsafe { place.assume_init() },
                if op.status == OKAY {
                    Ok(Released(()))
                } else {
                    Err(Handle(op.handle))
                },
            );
        }
    }
}
