// SPDX-License-Identifier: GPL-2.0

//! `make test-install`: the package in a Debian dom0, from apt to the next boots.
//!
//! The dom0 is a minimal Debian with systemd, its Xen and its kernel. apt runs in it as in a chroot,
//! between the boots: the machine in QEMU has no network, and would compile for hours. Each boot
//! is from a disk with what the chroot has then.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::archive::SUITE;
use crate::console::Verdict;
use crate::deb;
use crate::error;
use crate::lane::Dom0;
use crate::machine::{Boot, Machine, OURS, THEIRS};
use crate::packaged::{self, Packaged};
use crate::project::Project;

/// What DKMS is told by dkms.conf, in our words.
const RANGE: &str = "the modules are for Linux 7.2 and 7.3 with CONFIG_RUST and CONFIG_XEN_DOM0";

/// How the package is tried.
pub struct Installation {
    pub dom0: Dom0,
    pub with: With,
}

/// What it is tried with.
pub enum With {
    /// Being installed, upgraded and removed, with the newest two kernels.
    Upgrades,
    /// Only being installed, for a kernel of the archive.
    Kernel(String),
    /// Only being installed, in another release of Debian that it is built in, too.
    Suite(String),
}

/// What a build takes that no release has from the beginning, besides the package's own needs.
const BUILDER: &[&str] = &["build-essential", "ca-certificates", "cargo", "rustc"];

/// How it went so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Counts one thing that has to hold.
    fn expect(&mut self, what: &str, holds: bool) {
        println!("{} {what}", if holds { "ok" } else { "not ok" });
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Counts what a boot showed.
    fn add(&mut self, verdict: &Verdict) {
        let (passed, failed) = verdict.totals();
        self.passed += passed;
        self.failed += failed;
    }
}

impl Installation {
    /// Gives the exit status. The last line on standard output is the verdict.
    pub fn run(&self, project: &Project<'_>) -> Result<u8> {
        let started = Instant::now();
        let mut tally = Tally::default();
        let tried = match &self.with {
            With::Upgrades => self.upgrades(project, &mut tally),
            With::Kernel(release) => self.kernel(project, release, &mut tally),
            With::Suite(suite) => self.suite(project, suite, &mut tally),
        };
        if let Err(error) = tried {
            let (line, status) = error::report(&error);
            if status == error::EXIT_SURROUNDINGS {
                return Err(error);
            }
            println!("error: {line}");
            tally.failed += 1;
        }
        println!("in {} s", started.elapsed().as_secs());
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Ok(u8::from(tally.failed > 0 || tally.passed == 0))
    }

    /// Builds the package, which takes processors, and beside it makes the dom0, which takes a network.
    fn begin(&self, project: &Project<'_>, kernel: &Packaged) -> Result<(PathBuf, Machine)> {
        std::thread::scope(|scope| {
            let package = scope.spawn(|| deb::build(project));
            let debian = (SUITE, project.archive.sources());
            let machine = Machine::make(project, self.dom0, debian, &kernel.packages());
            match package.join() {
                Ok(package) => Ok((package?, machine?)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// With one kernel.
    fn kernel(&self, project: &Project<'_>, release: &str, tally: &mut Tally) -> Result<()> {
        let kernel = Packaged::of(&project.archive, release)?;
        let (package, machine) = self.begin(project, &kernel)?;
        if !kernel.is_signed() {
            machine.finish(project, &kernel)?;
        }
        serve(project, &machine, &kernel, &package, tally)
    }

    /// With another release's kernel and compilers.
    fn suite(&self, project: &Project<'_>, suite: &str, tally: &mut Tally) -> Result<()> {
        let sources: Vec<_> = project.archive.source_of(suite).into_iter().collect();
        let kernel = ["linux-image-amd64".to_owned()];
        let machine = Machine::make(project, self.dom0, (suite, &sources), &kernel)?;
        let package = machine.build(
            project,
            (suite, &sources),
            &[BUILDER, deb::PACKAGES].concat(),
        )?;
        serve(project, &machine, &machine.kernel()?, &package, tally)
    }

    /// Boots, installs, boots, upgrades, boots, removes, boots and purges.
    fn upgrades(&self, project: &Project<'_>, tally: &mut Tally) -> Result<()> {
        let (old, new) = Packaged::newest(&project.archive)?;
        let (package, machine) = self.begin(project, &old)?;
        let version = version_of(&package)?;
        tally.add(&machine.boot(
            project,
            &Boot {
                name: "before",
                kernel: &old,
                version: None,
            },
        )?);

        let deb = machine.take(&package)?;
        install(project, &machine, &old, &new, deb, tally, &version)?;
        tally.add(&machine.boot(
            project,
            &Boot {
                name: "installed",
                kernel: &old,
                version: Some(&version),
            },
        )?);

        let newer = upgrade(project, &machine, &old, &new, &package, tally)?;
        tally.add(&machine.boot(
            project,
            &Boot {
                name: "upgraded",
                kernel: &new,
                version: Some(&newer),
            },
        )?);
        remove(project, &machine, &new, tally)?;
        tally.add(&machine.boot(
            project,
            &Boot {
                name: "removed",
                kernel: &new,
                version: None,
            },
        )?);

        machine.purge(project, "purge", deb::PACKAGE)?;
        tally.expect(
            "nothing is left of a purged package",
            machine.remains("xen-rust")?.is_empty(),
        );
        machine.forget()
    }
}

/// Installs the package for the machine's kernel, and boots.
fn serve(
    project: &Project<'_>,
    machine: &Machine,
    kernel: &Packaged,
    package: &Path,
    tally: &mut Tally,
) -> Result<()> {
    let version = version_of(package)?;
    let deb = machine.take(package)?;
    machine.install(
        project,
        "install",
        &[kernel.headers(), kernel.own_source(), deb],
    )?;
    tally.expect(
        "the modules are installed for the kernel",
        machine.takes(kernel, Some(&version))?,
    );
    tally.expect(
        "they are signed by DKMS",
        machine.takes_signed_by_dkms(kernel)?,
    );
    tally.add(&machine.boot(
        project,
        &Boot {
            name: "installed",
            kernel,
            version: Some(&version),
        },
    )?);
    machine.forget()
}

/// Installs the package beside kernels that it is for and others.
fn install(
    project: &Project<'_>,
    machine: &Machine,
    old: &Packaged,
    new: &Packaged,
    deb: String,
    tally: &mut Tally,
    version: &str,
) -> Result<()> {
    // Of another series, and without CONFIG_XEN_DOM0.
    let other = packaged::older_release(&project.archive)?;
    let cloud = old.release.replace("-amd64", "-cloud-amd64");
    // The headers of the newest kernel come with the package, and its source would, too.
    let packages = [
        old.headers(),
        old.own_source(),
        deb,
        format!("linux-headers-{other}"),
        format!("linux-headers-{cloud}"),
    ];
    let said = machine.install(project, "install", &packages)?;
    let keeps = |release: &str, reason: &str| {
        said.contains(&format!(
            "xen-rust: Linux {release} keeps its own C drivers: {reason}"
        )) && !machine.has_metadata(release)
    };
    tally.expect(
        "the modules are installed for the kernel",
        machine.takes(old, Some(version))?,
    );
    tally.expect(
        "they are signed by DKMS",
        machine.takes_signed_by_dkms(old)?,
    );
    tally.expect(
        "a kernel whose source is missing is told of",
        keeps(&new.release, "its source is missing"),
    );
    // The others are refused by DKMS itself, in its words and then in ours.
    let excluded = said.matches("includes a BUILD_EXCLUSIVE directive").count();
    tally.expect(
        "a kernel of another series is refused",
        keeps(&other, RANGE) && excluded == 2,
    );
    tally.expect(
        "a kernel with another configuration is refused",
        keeps(&cloud, RANGE) && excluded == 2,
    );
    Ok(())
}

/// Upgrades the kernel, then the package, which it gives the version of; each initramfs has our
/// modules then.
fn upgrade(
    project: &Project<'_>,
    machine: &Machine,
    old: &Packaged,
    new: &Packaged,
    package: &Path,
    tally: &mut Tally,
) -> Result<String> {
    let version = version_of(package)?;
    machine.ask_for_initramfs()?;
    machine.install(
        project,
        "upgrade-kernel",
        &["linux-image-amd64".to_owned(), new.source()],
    )?;
    tally.expect(
        "the modules are installed for the upgraded kernel",
        machine.takes(new, Some(&version))?,
    );
    tally.expect("its initramfs has them", machine.initramfs_has(new, OURS)?);
    tally.expect(
        "the metadata of both kernels is kept",
        machine.has_metadata(&old.release) && machine.has_metadata(&new.release),
    );
    machine.purge(
        project,
        "purge-old-kernel",
        &format!("linux-*-{}*", old.release),
    )?;
    tally.expect(
        "the metadata of a removed kernel is removed",
        !machine.has_metadata(&old.release) && machine.has_metadata(&new.release),
    );
    let newer = format!("{version}.1");
    let deb = machine.take(&deb::with_version(project, package, &version, &newer)?)?;
    machine.install(project, "upgrade-package", &[deb])?;
    tally.expect(
        "an upgraded package has its modules installed",
        machine.takes(new, Some(&newer))?,
    );
    tally.expect(
        "the initramfs has modules of ours still",
        machine.initramfs_has(new, OURS)?,
    );
    Ok(newer)
}

/// Removes the package, which gives the kernel its own drivers back.
fn remove(
    project: &Project<'_>,
    machine: &Machine,
    kernel: &Packaged,
    tally: &mut Tally,
) -> Result<()> {
    machine.remove(project, "remove", deb::PACKAGE)?;
    tally.expect(
        "the kernel's own modules are back",
        machine.takes(kernel, None)?,
    );
    tally.expect(
        "its initramfs has them, and none of ours",
        machine.initramfs_has(kernel, THEIRS)?,
    );
    tally.expect(
        "the metadata of all kernels is removed",
        !machine.has_metadata(&kernel.release),
    );
    Ok(())
}

/// The upstream version in a package's name.
fn version_of(package: &Path) -> Result<String> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    name.split('_')
        .nth(1)
        .and_then(|version| version.split('-').next())
        .map(str::to_owned)
        .with_context(|| format!("{name} names no version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_of_the_version_it_names() {
        let version = version_of(Path::new("/deb/xen-rust-dkms_0.1.0-1_amd64.deb"));
        assert_eq!(version.unwrap(), "0.1.0");
        assert!(version_of(Path::new("/deb/package")).is_err());
    }

    #[test]
    fn the_range_is_in_the_words_of_the_package() {
        let hook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../debian/kernel-built");
        assert!(std::fs::read_to_string(hook).unwrap().contains(RANGE));
    }
}
