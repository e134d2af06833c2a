// SPDX-License-Identifier: GPL-2.0

//! Memory above what the domain was started with.
//!
//! A block is added to the kernel's memory without anything behind it. Once it is online, which is
//! for the system's administrator to do or to have done, its pages are ones of the balloon, and
//! Xen can be asked to put memory behind them.
//!
//! Who brings a block online calls us, and is told to hand the pages over. A block that is brought
//! online once more, after it was taken offline, has memory: its pages are the kernel's to use.
//!
//! Without us, who brings a block online would hand pages without memory to the kernel's allocator. A paravirtual
//! domain cannot remove a block again: the kernel gives pages back that were page tables, and Xen has them
//! marked so. Hence the module stays loaded while a block is not online.
//!
//! Lock order: the kernel's lock of memory hotplug, [`Shared::added`].
//!
//! C headers: `include/linux/memory_hotplug.h`, `include/xen/interface/memory.h`.

use super::{
    PageStruct,
    Stack,
    BLOCK_ORDER,
    BLOCK_PAGES, //
};
use crate::{
    bindings,
    ext::{
        global::{
            Global,
            Installed, //
        },
        module::ModuleRef, //
    },
};
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex, //
    },
};

/// How many pages are added ahead of those that have come online: 1 GiB.
const AHEAD: usize = 1 << (30 - kernel::page::PAGE_SHIFT);

/// What the kernel's callback, which has no argument for it, finds.
static SHARED: Global<Shared> = Global::new();

#[pin_data]
struct Shared {
    #[pin]
    added: Mutex<Added>,
}

/// What has been added.
struct Added {
    blocks: KVec<Block>,
    /// Pages that have come online, as the reservoir's stacks have them.
    online_blocks: Stack,
    online_singles: Stack,
}

// SAFETY: Ownership of the pages is not tied to a thread.
unsafe impl Send for Added {}

/// A block that we have added.
struct Block {
    /// The number of its first page.
    first: usize,
    /// How many of its pages have come online since.
    online: usize,
    /// Keeps the module loaded until that is all of them.
    stay: Option<ModuleRef>,
}

impl Added {
    /// Pages that have been added, and have not come online.
    fn awaited(&self, block_pages: usize) -> usize {
        self.blocks
            .iter()
            .map(|block| block_pages.saturating_sub(block.online))
            .sum()
    }
}

/// The right to add memory; there is only one at a time.
pub(super) struct Hotplug {
    shared: Arc<Shared>,
    block_pages: usize,
    _installed: Installed<Shared>,
}

impl Hotplug {
    /// Begins to take the pages of blocks that are added.
    ///
    /// # Errors
    ///
    /// `ENODEV` where the kernel has no memory hotplug, `EINVAL` where something else in this
    /// system takes all pages that come online, `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        // SAFETY: Reads a constant of the kernel.
        let block_pages = unsafe { bindings::xen_rust_hotplug_block_pages() };
        if block_pages == 0 {
            return Err(ENODEV);
        }
        let added = Added {
            blocks: KVec::new(),
            online_blocks: Stack::new(),
            online_singles: Stack::new(),
        };
        let shared = Arc::pin_init(
            pin_init!(Shared {
                added <- new_mutex!(added),
            }),
            GFP_KERNEL,
        )?;
        let installed = SHARED.install(shared.clone())?;
        // SAFETY: The function lives until `drop()` has taken it back.
        to_result(unsafe { bindings::xen_rust_hotplug_begin(Some(come_online)) })?;
        Ok(Self {
            shared,
            block_pages,
            _installed: installed,
        })
    }

    /// Adds a block, unless `want` pages, or [`AHEAD`], have been added and are not yet online.
    ///
    /// May sleep. Brings the block online, if that is what the system does at once.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when so many are there, `EBUSY`, `EEXIST`, `ENOMEM` when there is no room.
    pub(super) fn add(&self, want: usize) -> Result {
        let mut first = 0;
        {
            let mut added = self.shared.added.lock();
            if added.awaited(self.block_pages) >= want.min(AHEAD) {
                return Err(EAGAIN);
            }
            // SAFETY: `first` is valid for writes.
            to_result(unsafe { bindings::xen_rust_hotplug_place(&mut first) })?;
            let stay = Some(ModuleRef::try_get().ok_or(EBUSY)?);
            // The block may come online before the kernel's function returns.
            let block = Block {
                first,
                online: 0,
                stay,
            };
            added.blocks.push(block, GFP_KERNEL)?;
        }
        // SAFETY: May be called with any number; the lock is not held, which the callback takes.
        to_result(unsafe { bindings::xen_rust_hotplug_add(first) })
            .inspect_err(|_| self.forget(first))
    }

    /// Drops the note of a block that is not there.
    fn forget(&self, first: usize) {
        self.shared
            .added
            .lock()
            .blocks
            .retain(|block| block.first != first);
    }

    /// Hands over the pages that have come online: blocks of the reservoir's size, and others.
    pub(super) fn collect(&self, blocks: &mut Stack, singles: &mut Stack) {
        let mut added = self.shared.added.lock();
        while let Some(block) = added.online_blocks.pop() {
            // SAFETY: It was on a stack of blocks, and is on none now.
            unsafe { blocks.push(block) };
        }
        while let Some(page) = added.online_singles.pop() {
            // SAFETY: It was on a stack, and is on none now.
            unsafe { singles.push(page) };
        }
    }

    /// Ends it, and hands over the pages that have come online. All blocks have, or the module were
    /// not being unloaded.
    pub(super) fn end(self, blocks: &mut Stack, singles: &mut Stack) {
        // SAFETY: The function was given to `xen_rust_hotplug_begin()`. It is not running afterwards.
        unsafe { bindings::xen_rust_hotplug_end(Some(come_online)) };
        self.collect(blocks, singles);
    }
}

/// A chunk of 2^`order` pages comes online.
///
/// # Safety
///
/// The kernel calls it with the first page of a chunk, which nobody else has.
unsafe extern "C" fn come_online(first: *mut PageStruct, order: kernel::ffi::c_uint) {
    let count = 1usize << order;
    // SAFETY: The page is valid.
    let pfn = unsafe { bindings::xen_rust_page_to_pfn(first) };
    if let Some(shared) = SHARED.get() {
        // SAFETY: Reads a constant of the kernel.
        let block_pages = unsafe { bindings::xen_rust_hotplug_block_pages() };
        let mut added = shared.added.lock();
        let Added {
            blocks,
            online_blocks,
            online_singles,
        } = &mut *added;
        let ours = blocks.iter_mut().find(|block| {
            pfn.checked_sub(block.first)
                .is_some_and(|at| at < block_pages && block.online < block_pages)
        });
        if let Some(block) = ours {
            block.online = block.online.saturating_add(count);
            if block.online >= block_pages {
                block.stay = None;
            }
            // SAFETY: The page is valid.
            unsafe { bindings::xen_rust_balloon_count(first, count as isize) };
            let unit = if order >= BLOCK_ORDER { BLOCK_PAGES } else { 1 };
            for at in (0..count).step_by(unit) {
                let Some(page) = NonNull::new(first.wrapping_add(at)) else {
                    continue;
                };
                // SAFETY: The pages lie side by side, and are ours from now on. Chunks are aligned
                // to their size.
                unsafe { bindings::xen_rust_balloon_mark_online(page.as_ptr(), unit) };
                let stack = if unit == BLOCK_PAGES {
                    &mut *online_blocks
                } else {
                    &mut *online_singles
                };
                // SAFETY: As above.
                unsafe { stack.push(page) };
            }
            return;
        }
    }
    // SAFETY: It is what the kernel does with pages that are nobody's in particular.
    unsafe { bindings::xen_rust_generic_online_page(first, order) };
}
