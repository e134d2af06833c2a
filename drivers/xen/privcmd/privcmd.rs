// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/privcmd` and `/dev/xen/hypercall`: a toolstack's way to the hypervisor.
//!
//! The first passes hypercalls on, and maps memory of other domains; the second has memory that is
//! fit for the arguments of hypercalls. xenfs shows the first as `/proc/xen/privcmd` too.
//!
//! Source: `include/uapi/xen/privcmd.h`.

#![deny(unsafe_code)]

mod buf;
mod dm_op;
mod file;
mod ioctl;
mod ioeventfd;
mod irqfd;
mod mmap;
// Public for the host's tests.
#[allow(unreachable_pub)]
mod outcome;
mod resource;
mod stats;
mod target;

use kernel::{
    debugfs,
    prelude::*, //
};
use xen::{
    domain,
    ext::{
        counters::Counters,
        misc::MiscDevice, //
    },
    foreign,
    store::Ready, //
};

module! {
    type: Privcmd,
    name: "xen_privcmd",
    authors: ["The Xen drivers in Rust"],
    description: "Hypercalls and memory of other domains for Xen toolstacks",
    license: "GPL",
}

xen::exported_file_table! {
    /// What `/dev/xen/privcmd` does. xenfs takes it for `/proc/xen/privcmd`.
    pub static xen_privcmd_fops: file::PrivcmdFile;
}

xen::exported_file_table! {
    /// What `/dev/xen/hypercall` does.
    pub static xen_privcmdbuf_fops: buf::BufFile;
}

/// Shows how many pages are lost to the pool as Xen has not let go of them: none, unless Xen or we
/// are at fault.
struct KeptPages;

/// The devices go first, then what they count.
#[pin_data]
struct Privcmd {
    #[pin]
    _buf: MiscDevice,
    #[pin]
    _privcmd: MiscDevice,
    _target: Option<Pin<KBox<Ready<target::Target>>>>,
    #[pin]
    _calls: debugfs::File<&'static Counters<stats::Call>>,
    #[pin]
    _kept: debugfs::File<KeptPages>,
    _dir: debugfs::Dir,
}

impl kernel::InPlaceModule for Privcmd {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let dir = debugfs::Dir::new(c"xen_privcmd");
        try_pin_init!(Self {
            _: { domain::require_xen()? },
            _target: target::watch()?,
            _calls <- stats::CALLS.debugfs(&dir),
            _kept <- dir.read_callback_file(c"pages_kept_by_xen", KeptPages, &|_, f| {
                writeln!(f, "{}", foreign::kept_by_xen())
            }),
            _dir: dir,
            _privcmd <- MiscDevice::register(c"xen/privcmd", &xen_privcmd_fops),
            _buf <- MiscDevice::register(c"xen/hypercall", &xen_privcmdbuf_fops),
        })
    }
}
