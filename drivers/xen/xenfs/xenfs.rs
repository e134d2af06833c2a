// SPDX-License-Identifier: GPL-2.0

//! The file system of `/proc/xen`.
//!
//! | file | mode | what it is |
//! |---|---|---|
//! | `capabilities` | 0444 | what this domain may do |
//! | `privcmd` | 0600 | the same as `/dev/xen/privcmd` |
//! | `xenbus` | 0600 | the same as `/dev/xen/xenbus` |
//! | `xensyms` | 0400 | the hypervisor's symbols; initial domain only |
//! | `xsd_kva` | 0600 | the page that xenstored serves the kernel through; initial domain only |
//! | `xsd_port` | 0600 | the event channel for that; initial domain only |
//!
//! The operations of `privcmd` are taken from the module that exports them by an ordinary
//! reference, as the kernel's own xenfs does. So modprobe loads whichever privcmd is installed,
//! it stays as long as xenfs does, and opening the file cannot find it gone.

#![deny(unsafe_code)]

use kernel::{
    debugfs,
    prelude::*, //
};
#[cfg(not(CONFIG_XEN_COMPAT_XENFS))]
use xen::ext::proc::MountPoint;
use xen::{
    counters,
    domain,
    ext::{
        file::FileTable,
        fs::{
            FileSystem,
            FileSystemType,
            Files,
            Registration, //
        },
        seq, //
    },
    operations, //
};

mod capabilities;
mod xenstored;
mod xensyms;

module! {
    type: XenFsModule,
    name: "xenfs",
    authors: ["The Xen drivers in Rust"],
    description: "The file system of /proc/xen",
    license: "GPL",
    alias: ["fs-xenfs"],
}

counters! {
    /// What xenfs itself is asked for. Use of `privcmd` and `xenbus` is counted by their own
    /// drivers.
    pub(crate) enum Call, pub(crate) static CALLS {
        /// The first mount of all that there are at a time.
        Mount = "mount",
        /// `capabilities` is opened.
        Capabilities = "capabilities",
        /// `xensyms` is opened.
        Xensyms = "xensyms",
        /// `xsd_kva` is opened.
        XsdKva = "xsd_kva",
        /// `xsd_port` is opened.
        XsdPort = "xsd_port",
    }
}

static CAPABILITIES: FileTable = seq::fixed_file::<capabilities::Capabilities>();
static XENSYMS: FileTable = seq::sequence_file::<xensyms::Xensyms>();
static XSD_KVA: FileTable = seq::text_file::<xenstored::Kva>();
static XSD_PORT: FileTable = seq::text_file::<xenstored::Port>();

struct XenFs;

impl FileSystem for XenFs {
    const NAME: &'static CStr = c"xenfs";

    /// `XENFS_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
    const MAGIC: usize = 0xabba_1974;

    fn populate(files: &mut Files) -> Result {
        CALLS.inc(Call::Mount);
        files.add(c"xenbus", 0o600, operations::xenbus())?;
        files.add(c"capabilities", 0o444, &CAPABILITIES)?;
        files.add(c"privcmd", 0o600, operations::privcmd())?;
        if domain::is_initial() {
            files.add(c"xsd_kva", 0o600, &XSD_KVA)?;
            files.add(c"xsd_port", 0o600, &XSD_PORT)?;
            files.add(c"xensyms", 0o400, &XENSYMS)?;
        }
        Ok(())
    }
}

static TYPE: FileSystemType<XenFs> = FileSystemType::new();

#[pin_data]
struct XenFsModule {
    _file_system: Registration<XenFs>,
    #[cfg(not(CONFIG_XEN_COMPAT_XENFS))]
    _mount_point: Option<MountPoint>,
    #[pin]
    _counters: debugfs::File<&'static xen::ext::counters::Counters<Call>>,
    _debugfs: debugfs::Dir,
}

impl kernel::InPlaceModule for XenFsModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            domain::require_xen()?;
            let dir = debugfs::Dir::new(c"xenfs");
            Ok(try_pin_init!(Self {
                _file_system: TYPE.register()?,
                #[cfg(not(CONFIG_XEN_COMPAT_XENFS))]
                _mount_point: mount_point(),
                _counters <- CALLS.debugfs(&dir),
                _debugfs: dir,
            }? Error))
        })
    }
}

/// A kernel built with its own xenfs, be it a module, has the directory from the start. One that
/// was not has none, and tools expect it.
#[cfg(not(CONFIG_XEN_COMPAT_XENFS))]
fn mount_point() -> Option<MountPoint> {
    MountPoint::create(c"xen")
        .inspect_err(|_| {
            pr_warn!("cannot make /proc/xen: mount xenfs elsewhere, and tell the tools where\n")
        })
        .ok()
}
