// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/gntdev`: other domains' pages in user space, by their grants.
//!
//! A process names grants and gets an offset for them ([`map`]); mapping the file at that offset
//! maps the grants ([`mapping`]). The offsets of a file are kept in [`table`]. [`notify`] tells the
//! other domain when a page is unmapped, [`copy`] copies without mapping.

#![deny(unsafe_code)]

use kernel::{
    debugfs,
    prelude::*,
    sync::Arc, //
};
use xen::{
    atomics,
    counters,
    domain,
    ext::{
        file::FileTable,
        misc::MiscDevice,
        workqueue::{
            self,
            ModuleQueue, //
        }, //
    },
    module_param, //
};

mod copy;
#[cfg(CONFIG_DMA_SHARED_BUFFER)]
mod dmabuf;
mod file;
mod map;
mod mapping;
mod notify;
// Public for the tests, of which this crate has none of its own.
#[allow(dead_code, unreachable_pub)]
mod offsets;
// As above.
#[allow(unreachable_pub)]
mod segment;
mod stats;
mod table;
// As above.
#[allow(unreachable_pub)]
mod usage;

module! {
    type: GntdevModule,
    name: "xen_gntdev",
    authors: ["The Xen drivers in Rust"],
    description: "Other domains' pages in user space, by their grants",
    license: "GPL",
    imports_ns: ["DMA_BUF"],
}

module_param! {
    /// How many grants one request may name.
    pub(crate) static LIMIT: u32 = 64 * 1024, "limit", 0o644,
        "Maximum number of grants that may be mapped by one mapping request";
    /// How many grants one file may name in all.
    pub(crate) static FILE_LIMIT: u32 = 16 * 1024 * 1024, "file_limit", 0o644,
        "Maximum number of grants that all maps of one open file may have";
}

counters! {
    /// What the device is asked for.
    pub(crate) enum Call, pub(crate) static CALLS {
        /// An open file.
        Open = "open",
        /// An mmap.
        Mmap = "mmap",
        /// `IOCTL_GNTDEV_MAP_GRANT_REF`.
        MapGrantRef = "map_grant_ref",
        /// `IOCTL_GNTDEV_UNMAP_GRANT_REF`.
        UnmapGrantRef = "unmap_grant_ref",
        /// `IOCTL_GNTDEV_GET_OFFSET_FOR_VADDR`.
        GetOffsetForVaddr = "get_offset_for_vaddr",
        /// `IOCTL_GNTDEV_SET_UNMAP_NOTIFY`.
        SetUnmapNotify = "set_unmap_notify",
        /// `IOCTL_GNTDEV_GRANT_COPY`.
        GrantCopy = "grant_copy",
        /// `IOCTL_GNTDEV_DMABUF_EXP_FROM_REFS`.
        DmabufExport = "dmabuf_exp_from_refs",
        /// `IOCTL_GNTDEV_DMABUF_EXP_WAIT_RELEASED`.
        DmabufWait = "dmabuf_exp_wait_released",
        /// `IOCTL_GNTDEV_DMABUF_IMP_TO_REFS`.
        DmabufImport = "dmabuf_imp_to_refs",
        /// `IOCTL_GNTDEV_DMABUF_IMP_RELEASE`.
        DmabufRelease = "dmabuf_imp_release",
        /// `IOCTL_GNTDEV_RESTRICT`.
        Restrict = "restrict",
        /// Any other ioctl.
        Unknown = "unknown",
    }
}

static OPERATIONS: FileTable = FileTable::new::<file::GntdevFile>();

/// Where unmappings that have to wait are tried again.
static QUEUE: ModuleQueue = ModuleQueue::new();

#[pin_data]
struct GntdevModule {
    // Fields are dropped in this order: the queue last, when nobody comes any more.
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    _dma_device: xen::ext::global::Installed<xen::ext::dma_buf::DmaDevice>,
    #[pin]
    device: MiscDevice,
    #[pin]
    _calls: debugfs::File<&'static xen::ext::counters::Counters<Call>>,
    #[pin]
    _stats: debugfs::File<&'static stats::Stats>,
    _dir: debugfs::Dir,
    _queue: workqueue::Running,
}

impl kernel::InPlaceModule for GntdevModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _queue: {
                domain::require_xen()?;
                QUEUE.start(c"xen-gntdev")?
            },
            _dir: debugfs::Dir::new(c"xen_gntdev"),
            _calls <- CALLS.debugfs(_dir),
            _stats <- stats::STATS.debugfs(_dir),
            device <- MiscDevice::register(c"xen/gntdev", &OPERATIONS),
            #[cfg(CONFIG_DMA_SHARED_BUFFER)]
            _dma_device: dmabuf::DEVICE.install(Arc::new(device.dma_device(), GFP_KERNEL)?)?,
        })
    }
}
