// SPDX-License-Identifier: GPL-2.0

//! The build root: a Debian tree with the compilers, QEMU, Xen and its tools, the same on every
//! host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::archive::{explain, Archive, SUITE};
use crate::disk;
use crate::error::surroundings;
use crate::place;
use crate::sandbox::inside;
use crate::stamp::Stamp;
use crate::step::{Progress, Step};
use crate::tool::{self, Tools};

/// The Xen release that is booted.
pub const XEN: &str = "4.20";

/// What the build root holds, beyond apt.
const PACKAGES: &[&str] = &[
    // Kernels and modules.
    "bc",
    "bindgen",
    "bison",
    "build-essential",
    "cpio",
    "flex",
    "kmod",
    "libclang-dev",
    "libdw-dev",
    "libelf-dev",
    "libssl-dev",
    "pahole",
    "python3",
    "rust-clippy",
    "rust-src",
    "rustc",
    "rustfmt",
    "xz-utils",
    // Guest programs.
    "ca-certificates",
    "cargo",
    // Running them.
    "busybox-static",
    "qemu-system-x86",
    "xen-hypervisor-4.20-amd64",
    "xen-utils-4.20",
    "xenstore-utils",
];

/// Megabytes the build root needs while it is made.
const SIZE: u64 = 3500;

/// The same for a tree of files that are only copied.
const UNPACKED_SIZE: u64 = 900;

/// Makes sure that the build root is there and says where.
pub fn ensure(progress: &Progress, archive: &Archive<'_>, cache: &Path) -> Result<PathBuf> {
    let root = cache.join("root");
    let packages = PACKAGES.join(",");
    let sources = archive.sources().join("\n");
    let stamp = Stamp::of(&["1", &packages, &sources]);
    stamp.ensure(&root, |fresh| {
        disk::needs(cache, SIZE)?;
        install_mmdebstrap(progress)?;
        let step = progress.step("build root", "downloading and unpacking Debian packages");
        bootstrap(
            (SUITE, archive.sources()),
            &step,
            fresh,
            PACKAGES,
            &cache.join("root.log"),
        )?;
        step.done();
        Ok(())
    })?;
    adopt(&root)?;
    Ok(root)
}

/// Makes sure that a folder of the cache has the files of packages and of all that those depend
/// on, and says where. The packages are not set up: none of their scripts runs.
pub fn unpack(
    progress: &Progress,
    archive: &Archive<'_>,
    cache: &Path,
    name: &str,
    packages: &[&str],
) -> Result<PathBuf> {
    let tree = cache.join(name);
    let sources = archive.sources().join("\n");
    let stamp = Stamp::of(&["1", &packages.join(","), &sources]);
    stamp.ensure(&tree, |fresh| {
        disk::needs(cache, UNPACKED_SIZE)?;
        install_mmdebstrap(progress)?;
        let step = progress.step(name, "downloading and unpacking Debian packages");
        let mut make = mmdebstrap("extract", packages, cache);
        make.arg(crate::archive::SUITE)
            .arg(fresh)
            .args(archive.sources());
        let ran = tool::watch(&mut make, &step, None, |_| {})?;
        if !ran.success {
            return Err(explain(&ran, &packages.join(" ")));
        }
        step.done();
        Ok(())
    })?;
    Ok(tree)
}

/// Makes a tree of a Debian release, by its name and sources, in a new folder: of these packages, and
/// what apt itself needs, all set up, without their documentation.
pub fn bootstrap(
    (suite, sources): (&str, &[String]),
    step: &Step,
    fresh: &Path,
    packages: &[&str],
    log: &Path,
) -> Result<()> {
    let mut make = mmdebstrap("apt", packages, Path::new("/"));
    make.args([
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ]);
    make.arg(suite).arg(fresh).args(sources);
    let ran = tool::watch(&mut make, step, Some(log), |_| {})?;
    if !ran.success {
        return Err(explain(&ran, "Debian's packages"));
    }
    Ok(())
}

/// A command that makes a Debian tree; what it lacks is the release, the folder, the sources.
fn mmdebstrap(variant: &str, packages: &[&str], cache: &Path) -> Command {
    let mut make = tool::host("mmdebstrap", cache);
    // As root of a user namespace, only this mode does without device nodes.
    make.arg(if is_real_root() {
        "--mode=root"
    } else {
        "--mode=unshare"
    });
    make.arg(format!("--variant={variant}"));
    make.args([
        "--format=directory",
        "--aptopt=APT::Install-Recommends \"false\"",
        "--aptopt=APT::Sandbox::User \"root\"",
        "--aptopt=Acquire::Languages \"none\"",
        "--aptopt=Acquire::Retries \"3\"",
        "--dpkgopt=force-unsafe-io",
    ]);
    make.arg(format!("--include={}", packages.join(",")));
    make
}

/// Makes sure that the build root, which is ready to be used, has further packages: those that not
/// every lane needs.
pub fn add(progress: &Progress, tools: &Tools, packages: &[&str]) -> Result<()> {
    // Two runs of apt in one root would be in each other's way.
    static ADDING: Mutex<()> = Mutex::new(());
    let _adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ask = tools.command("dpkg-query", Path::new("/"));
    ask.args(["--show", "--showformat", "${db:Status-Status}\n"])
        .args(packages);
    // It fails where one of them is unknown to it.
    if tool::output(&mut ask).map_or(false, |states| states.lines().all(|it| it == "installed")) {
        return Ok(());
    }
    let what = packages.join(" ");
    let step = progress.step("build root", &format!("installing {what}"));
    for arguments in [&["update"][..], &["install", "--yes", "--quiet"]] {
        let mut install = tools.command("apt-get", Path::new("/"));
        install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        if arguments != ["update"] {
            install.args(packages);
        }
        let ran = tool::watch(&mut install, &step, None, |_| {})?;
        if !ran.success {
            return Err(explain(&ran, &what));
        }
    }
    step.done();
    Ok(())
}

/// Gives a root what the host knows of its network, for cargo to download crates: the name
/// server, and the certificates it trusts, which behind a company's proxy are not Debian's alone.
pub fn adopt(root: &Path) -> Result<()> {
    const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
    let certificates = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let certificates = certificates.unwrap_or_else(|| PathBuf::from(CERTIFICATES));
    for (from, to) in [
        (Path::new("/etc/resolv.conf"), "/etc/resolv.conf"),
        (&certificates, CERTIFICATES),
    ] {
        // What the host does not have, the root has to do without.
        if let Ok(content) = fs::read(from) {
            place::write(&inside(root, Path::new(to)), content)
                .with_context(|| format!("giving a root the host's {to}"))?;
        }
    }
    Ok(())
}

/// Whether we are root outside of any user namespace.
pub fn is_real_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_whitespace();
    nix::unistd::geteuid().is_root() && fields.nth(1) == Some("0")
}

fn install_mmdebstrap(progress: &Progress) -> Result<()> {
    if Path::new("/usr/bin/mmdebstrap").exists() {
        return Ok(());
    }
    if !is_real_root() {
        return Err(surroundings(
            "mmdebstrap is missing: install it (as root: apt-get install mmdebstrap)",
        ));
    }
    let step = progress.step("mmdebstrap", "installing it on this host by apt-get");
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", "mmdebstrap"],
    ] {
        let mut install = tool::host("apt-get", Path::new("/"));
        install
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments);
        let ran = tool::watch(&mut install, &step, None, |_| {})?;
        // The host's lists may be partly out of reach, and still have this one.
        if !ran.success && arguments != ["update"] {
            return Err(explain(&ran, "mmdebstrap"));
        }
    }
    step.done();
    Ok(())
}
