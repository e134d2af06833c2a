// SPDX-License-Identifier: GPL-2.0

//! The clients' image: dom0's, with programs of Debian's that use the drivers, whole packages of
//! them with all that they load.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::lane::Lane;
use crate::lock::Lock;
use crate::program::Program;
use crate::project::Project;
use crate::root;

/// What dom0's image has not, or only busybox's.
const PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-xen",
    "mount",
    "python3",
    "qemu-system-xen",
    "seabios",
    "util-linux",
    "xen-utils-4.20",
    "xenstore-utils",
];

/// What of them no test reads. Of the first ones dom0's image has its own.
const LEFT_OUT: &[&str] = &[
    "boot",
    "dev",
    "etc/xen/xl.conf",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr/lib/systemd",
    "usr/lib/udev",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/xml",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/lock",
    "var/run",
];

/// The folder, in the repository, of the program that makes the calls of crates, and where the image
/// has it.
pub const FOLDER: &str = "tests/clients";
const PROGRAM: Program = Program {
    title: "clients' program",
    folder: FOLDER,
    target: "clients",
    executable: "x86_64-unknown-linux-gnu/release/xen-clients",
};
const PLACE: &str = "usr/lib/xen-rust/xen-clients";

/// The accounts that the packages' scripts would have made, and those that a device model with few rights can be.
const ACCOUNTS: &str = "\
    root:x:0:0:root:/root:/bin/sh\n\
    nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
    xen-qemuuser-reaper:x:131071:131071::/nonexistent:/usr/sbin/nologin\n\
    xen-qemuuser-range-base:x:131072:131072::/nonexistent:/usr/sbin/nologin\n";
const GROUPS: &str = "\
    root:x:0:\nnogroup:x:65534:\nxen-qemuuser-reaper:x:131071:\nxen-qemuuser-range-base:x:131072:\n";

/// libvirt starts only where it knows a processor that has nothing beyond what this one has. All that
/// it knows have SEP, which Xen hides on AMD's, or VME, which QEMU does not emulate: here is its least
/// one without VME.
const PROCESSOR: &str = "usr/share/libvirt/cpu_map/x86_486.xml";
const PROCESSOR_TEXT: &str = "\
    <cpus>\n  <model name='486'>\n    <check partial='compat'/>\n    <decode host='on' guest='on'/>\n    \
    <feature name='fpu'/>\n    <feature name='pse'/>\n  </model>\n</cpus>\n";

/// Who may use its socket: whoever can open it, as there is nobody here to be asked.
const LIBVIRT: &str = "etc/libvirt/libvirtd.conf";
const LIBVIRT_TEXT: &str = "auth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n";

/// Makes the image from dom0's; gives the file.
pub fn add(project: &Project<'_>, lane: Lane, dom0: &Path) -> Result<PathBuf> {
    let tree = {
        let _lock = Lock::of_cache(project.progress, &project.places.cache)?;
        let cache = &project.places.cache;
        root::unpack(
            project.progress,
            &project.archive,
            cache,
            "clients",
            PACKAGES,
        )?
    };
    let program = PROGRAM.build(project)?;
    let step = project.progress.step(
        format!("clients' image for lane {}", lane.name()),
        "collecting files",
    );
    let mut more = Archive::default();
    add_tree(&mut more, &tree, "")?;
    more.text("etc/passwd", ACCOUNTS);
    more.text("etc/group", GROUPS);
    more.text(PROCESSOR, PROCESSOR_TEXT);
    more.text(LIBVIRT, LIBVIRT_TEXT);
    more.copy(PLACE, &program)?;
    // An image may be several archives; the later ones' files win.
    let path = project.places.lane(lane).join("clients.cpio");
    fs::copy(dom0, &path).with_context(|| format!("copying {}", dom0.display()))?;
    let mut file = File::options().append(true).open(&path)?;
    more.write(&mut file)?;
    step.done();
    Ok(path)
}

fn add_tree(image: &mut Archive, tree: &Path, folder: &str) -> Result<()> {
    let dir = tree.join(folder);
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name
        } else {
            format!("{folder}/{name}")
        };
        if LEFT_OUT.contains(&path.as_str()) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            image.directory(&path);
            add_tree(image, tree, &path)?;
        } else if kind.is_symlink() {
            image.link(&path, &fs::read_link(entry.path())?.to_string_lossy());
        } else if kind.is_file() {
            image.copy(&path, &entry.path())?;
        }
    }
    Ok(())
}
