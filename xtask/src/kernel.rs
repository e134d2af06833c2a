// SPDX-License-Identifier: GPL-2.0

//! Kernels: the archive's version for a lane, its source, and a tree that modules can be built
//! against.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::archive::{self, Archive};
use crate::disk;
use crate::error::surroundings;
use crate::lane::Lane;
use crate::lock::Lock;
use crate::metadata;
use crate::place;
use crate::project::Project;
use crate::stamp::Stamp;
use crate::tool::{self, jobs};
use crate::version;

/// The kernel's own C drivers that ours take the place of or work beside.
pub const REFERENCE: &[&str] = &[
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
];

/// The major version of Linux that the modules are written for.
const MAJOR: &str = "7";

const IMAGE: &str = "linux-image-amd64";

/// What runs before KASAN's shadow memory is there, in a dom0: not to be instrumented. An object's
/// name stands for all of that name, so this is for the kernel and never for our modules.
const BEFORE_SHADOW: &str = "\
    alternative amd apic bugs capflags cmdline common core cpu cpuid cpuid_0x2_table cpuid_parser \
    ctype e820 early_ioremap efi enlighten enlighten_hvm enlighten_pv enlighten_pvh features fpu \
    hypervisor ident_map idt init init_64 intel ioremap irq irqinit jump_label kasan_init_64 match \
    mmu mmu_pv multicalls nbcon p2m pgtable physaddr platform-pci-unplug printk proc process rdrand \
    ring_buffer scattered setup smp smp_pv static_call string string_64 suspend time topology \
    topology_amd topology_common topology_ext traps tsc vga vsprintf xstate";

/// The objects of the C drivers, for which coverage is traced as it is for ours.
const TRACED: &str = "evtchn gntalloc gntdev gntdev-dmabuf privcmd privcmd-buf";

/// Megabytes a source tree and a built kernel take.
const SOURCE_SIZE: u64 = 2200;
const BUILD_SIZE: u64 = 2500;

/// A kernel that can be booted and that modules can be built against.
pub struct Kernel {
    pub lane: Lane,
    /// What `uname -r` says.
    pub release: String,
    /// The source tree. It stays as it was unpacked.
    pub source: PathBuf,
    /// The tree of objects: what modules are built against.
    pub objects: PathBuf,
    pub vmlinuz: PathBuf,
    /// The kernel's own modules, by name, uncompressed.
    pub reference: PathBuf,
    /// Where depmod finds the lists of what is built in.
    pub builtin_lists: PathBuf,
}

/// The packages a lane's kernel is made from, each with its version.
struct Packages {
    version: String,
    source: String,
    /// For the stock lane: the release and the packages of the image.
    image: Option<(String, Vec<String>)>,
}

impl Packages {
    fn all(&self) -> impl Iterator<Item = &str> {
        let image = self.image.iter().flat_map(|(_, packages)| packages.iter());
        std::iter::once(&self.source)
            .chain(image)
            .map(String::as_str)
    }
}

/// Downloads what a lane's kernel is made from, except what has been unpacked already.
pub fn download(archive: &Archive<'_>, cache: &Path, lane: Lane) -> Result<()> {
    let packages = choose(archive, lane)?;
    for package in packages.all() {
        if package == packages.source
            && source_stamp(&packages).is_on(&source_dir(cache, &packages))
        {
            continue;
        }
        archive.download(package, &packages.version)?;
    }
    Ok(())
}

/// Makes sure that a lane's kernel is built.
pub fn ensure(project: &Project<'_>, lane: Lane) -> Result<Kernel> {
    let (packages, source) = {
        let _cache_lock = Lock::of_cache(project.progress, &project.places.cache)?;
        let packages = choose(&project.archive, lane)?;
        let source = unpack_source(project, &packages)?;
        (packages, source)
    };
    let kernel = match lane {
        Lane::Stock => stock(project, &packages, source)?,
        _ => configured(project, &packages, lane, source)?,
    };
    let build = project.places.lane(lane);
    place::link(&kernel.vmlinuz, &build.join("vmlinuz"))?;
    place::link(&kernel.source, &build.join("source"))?;
    place::link(&kernel.objects, &build.join("kernel"))?;
    for name in REFERENCE {
        let file = format!("{name}.ko");
        place::link(
            &kernel.reference.join(&file),
            &build.join("reference").join(&file),
        )?;
    }
    Ok(kernel)
}

fn choose(archive: &Archive<'_>, lane: Lane) -> Result<Packages> {
    match lane {
        Lane::Stock => choose_stock(archive),
        _ => choose_newest_source(archive),
    }
}

/// The kernel a user runs who takes Debian's newest image.
fn choose_stock(archive: &Archive<'_>) -> Result<Packages> {
    let suite = archive::backports();
    let images = archive.versions(IMAGE, Some(&suite))?;
    let version = match version::newest(images.iter().map(String::as_str)) {
        Some(version) => version.to_owned(),
        None => {
            return Err(surroundings(format!(
                "the Debian archive has no {IMAGE} in {suite}"
            )))
        }
    };
    let series = version::series(&version).unwrap_or_default();
    let source = format!("linux-source-{series}");
    if !archive.versions(&source, None)?.contains(&version) {
        return Err(surroundings(format!(
            "the Debian archive has {IMAGE} {version} but not {source} of that version: \
             try again when its mirrors have settled"
        )));
    }
    let meta = archive.companions(IMAGE, &version)?;
    let prefix = "linux-image-";
    let release = match meta.iter().find_map(|package| package.strip_prefix(prefix)) {
        Some(release) => release.to_owned(),
        None => bail!("{IMAGE} {version} does not say which image it stands for"),
    };
    // The image may be one package or spread over several of the same release.
    let mut packages = vec![
        format!("linux-headers-{release}"),
        format!("{prefix}{release}"),
    ];
    for package in archive.companions(&packages[1], &version)? {
        if package.ends_with(&release) {
            packages.push(package);
        }
    }
    Ok(Packages {
        version,
        source,
        image: Some((release, packages)),
    })
}

fn choose_newest_source(archive: &Archive<'_>) -> Result<Packages> {
    let prefix = format!("linux-source-{MAJOR}.");
    let suite = archive::backports();
    let mut found = Vec::new();
    for name in archive.names(&prefix)? {
        for version in archive.versions(&name, Some(&suite))? {
            found.push((name.clone(), version));
        }
    }
    let newest = found
        .into_iter()
        .max_by(|a, b| version::compare(&a.1, &b.1));
    match newest {
        Some((source, version)) => Ok(Packages {
            version,
            source,
            image: None,
        }),
        None => Err(surroundings(format!(
            "the Debian archive has no {prefix}* in {suite}: \
             name another mirror in XEN_RUST_MIRROR"
        ))),
    }
}

fn source_dir(cache: &Path, packages: &Packages) -> PathBuf {
    let name = format!("linux-{}", archive::plain(&packages.version));
    cache.join("source").join(name)
}

fn source_stamp(packages: &Packages) -> Stamp {
    Stamp::of(&["1", &packages.source, &packages.version])
}

fn unpack_source(project: &Project<'_>, packages: &Packages) -> Result<PathBuf> {
    let dir = source_dir(&project.places.cache, packages);
    source_stamp(packages).ensure(&dir, |fresh| {
        let deb = project.archive.download(&packages.source, &packages.version)?;
        disk::needs(&project.places.cache, SOURCE_SIZE)?;
        let step = project
            .progress
            .step(format!("{} {}", packages.source, packages.version), "unpacking the source");
        let mut unpack = project.tools.command("bash", fresh);
        unpack.args(["-o", "pipefail", "-c"]);
        unpack.arg(
            "dpkg-deb --fsys-tarfile \"$1\" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | \
             xz -dcT0 | tar -x --strip-components=1",
        );
        unpack.arg("unpack").arg(&deb);
        tool::run(&mut unpack, &step, None)?;
        // Unpacked, it is not needed again.
        place::ignore_missing(fs::remove_file(&deb))?;
        step.done();
        Ok(())
    })?;
    Ok(dir)
}

/// Where the kernel of some inputs is built. A tree of objects knows its own and its source's
/// path, so those are among the inputs.
fn build_dir(project: &Project<'_>, lane: Lane, packages: &Packages, stamp: &Stamp) -> PathBuf {
    let upstream = archive::plain(version::upstream(&packages.version));
    let name = format!("{}-{upstream}-{}", lane.name(), stamp.as_str());
    project.places.cache.join("kernel").join(name)
}

fn stamp(project: &Project<'_>, packages: &Packages, source: &Path, recipe: &str) -> Stamp {
    Stamp::of(&[
        recipe,
        &packages.version,
        &source.to_string_lossy(),
        &project.places.cache.to_string_lossy(),
    ])
}

/// A make in a kernel's source with its objects elsewhere.
pub fn make(project: &Project<'_>, source: &Path, objects: &Path) -> Command {
    let mut make = project.tools.command("make", source);
    make.arg(format!("-j{}", jobs() + 1));
    make.arg(format!("O={}", objects.display()));
    make
}

/// A kernel of our own configuration.
fn configured(
    project: &Project<'_>,
    packages: &Packages,
    lane: Lane,
    source: PathBuf,
) -> Result<Kernel> {
    let mut wanted = String::new();
    for name in lane.fragments() {
        let file = project
            .places
            .repo
            .join(format!("xtask/config/{name}.config"));
        wanted +=
            &fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    }
    let arguments = arguments(lane);
    let recipe = format!("{wanted}{}", arguments.join(" "));
    let stamp = stamp(project, packages, &source, &recipe);
    let objects = build_dir(project, lane, packages, &stamp);
    let _lock = Lock::of_kernel(project.progress, &objects)?;
    // No temporary name: make goes on where an interrupted build stopped, and the stamp, written
    // last, says whether it is whole.
    if !stamp.is_on(&objects) {
        disk::needs(&project.places.cache, BUILD_SIZE)?;
        let step = project.progress.step(
            format!("kernel {} for lane {}", packages.version, lane.name()),
            "compiling it takes some minutes the first time",
        );
        let log = project.places.log(lane, "kernel");
        let fragment = objects.join("fragment.config");
        place::write(&fragment, &wanted)?;
        let mut configure = make(project, &source, &objects);
        configure
            .env("KCONFIG_ALLCONFIG", &fragment)
            .args(&arguments)
            .arg("allnoconfig");
        tool::run(&mut configure, &step, Some(&log))?;
        let got = fs::read_to_string(objects.join(".config")).context("reading .config")?;
        let lost = unmet(&wanted, &got);
        if !lost.is_empty() {
            bail!(
                "linux {} does not take these lines of xtask/config/{{{}}}.config: {}",
                packages.version,
                lane.fragments().join(","),
                lost.join(", ")
            );
        }
        tool::run(
            make(project, &source, &objects)
                .args(&arguments)
                .args(["bzImage", "modules"]),
            &step,
            Some(&log),
        )?;
        collect(
            project,
            &objects.join("drivers/xen"),
            &objects.join("reference"),
        )?;
        stamp.put_on(&objects)?;
        step.done();
    }
    Ok(Kernel {
        lane,
        release: release(&objects)?,
        vmlinuz: objects.join("arch/x86/boot/bzImage"),
        reference: objects.join("reference"),
        builtin_lists: objects.clone(),
        source,
        objects,
    })
}

/// What make is told for a lane's kernel.
fn arguments(lane: Lane) -> Vec<String> {
    let mut arguments: Vec<_> = lane
        .make_arguments()
        .iter()
        .map(|argument| (*argument).to_owned())
        .collect();
    if lane == Lane::Sanitize {
        arguments.extend(
            BEFORE_SHADOW
                .split_whitespace()
                .map(|object| format!("KASAN_SANITIZE_{object}.o=n")),
        );
    }
    if matches!(lane, Lane::Sanitize | Lane::SanitizePv) {
        arguments.extend(
            TRACED
                .split_whitespace()
                .map(|object| format!("KCOV_INSTRUMENT_{object}.o=y")),
        );
    }
    arguments
}

/// Debian's kernel, and metadata that modules for it can be built against.
fn stock(project: &Project<'_>, packages: &Packages, source: PathBuf) -> Result<Kernel> {
    let (release, names) = packages
        .image
        .as_ref()
        .context("a stock kernel has an image")?;
    let stamp = stamp(project, packages, &source, metadata::RECIPE);
    let dir = build_dir(project, Lane::Stock, packages, &stamp);
    let package = dir.join("package");
    let lists = package.join("usr/lib/modules").join(release);
    let objects = dir.join("objects");
    let _lock = Lock::of_kernel(project.progress, &dir)?;
    if !stamp.is_on(&dir) {
        disk::needs(&project.places.cache, BUILD_SIZE)?;
        stamp.ensure(&package, |fresh| {
            let mut debs = Vec::new();
            for name in names {
                debs.push(project.archive.download(name, &packages.version)?);
            }
            let step = project.progress.step(
                format!("Debian's kernel {release}"),
                "unpacking its packages",
            );
            for deb in &debs {
                let mut unpack = project.tools.command("dpkg-deb", fresh);
                tool::run(unpack.arg("-x").arg(deb).arg("."), &step, None)?;
            }
            step.done();
            Ok(())
        })?;
        collect(
            project,
            &lists.join("kernel/drivers/xen"),
            &dir.join("reference"),
        )?;
        metadata::make(project, &source, &objects, &package, release)?;
        stamp.put_on(&dir)?;
    }
    let vmlinuz = [
        lists.join("vmlinuz"),
        package.join(format!("boot/vmlinuz-{release}")),
    ];
    let vmlinuz = match vmlinuz.iter().find(|path| path.exists()) {
        Some(vmlinuz) => vmlinuz.clone(),
        None => bail!("Debian's packages of {release} hold no vmlinuz where one was expected"),
    };
    Ok(Kernel {
        lane: Lane::Stock,
        release: release.clone(),
        vmlinuz,
        reference: dir.join("reference"),
        builtin_lists: lists,
        source,
        objects,
    })
}

/// Puts the C drivers found below `from` into one folder, uncompressed.
fn collect(project: &Project<'_>, from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for name in REFERENCE {
        let found = ["", "xenfs/"].iter().find_map(|folder| {
            ["ko", "ko.xz"].iter().find_map(|suffix| {
                let path = from.join(format!("{folder}{name}.{suffix}"));
                path.exists().then_some(path)
            })
        });
        let found = match found {
            Some(found) => found,
            None => bail!("the kernel has no module {name} in {}", from.display()),
        };
        let module = to.join(format!("{name}.ko"));
        if found.extension().map_or(false, |suffix| suffix == "xz") {
            let mut unpack = project.tools.command("xz", to);
            let unpacked = unpack
                .arg("-dc")
                .arg(&found)
                .output()
                .context("starting xz")?;
            if !unpacked.status.success() {
                bail!("{} does not unpack", found.display());
            }
            place::write(&module, unpacked.stdout)?;
        } else {
            fs::copy(&found, &module).with_context(|| format!("copying {}", found.display()))?;
        }
    }
    Ok(())
}

fn release(objects: &Path) -> Result<String> {
    let file = objects.join("include/config/kernel.release");
    let release =
        fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    Ok(release.trim().to_owned())
}

/// The lines of a configuration fragment that the finished configuration does not honour.
fn unmet<'w>(wanted: &'w str, got: &str) -> Vec<&'w str> {
    let got: std::collections::HashSet<&str> = got.lines().collect();
    let mut last = std::collections::HashMap::new();
    let lines = wanted
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("CONFIG_"));
    for (number, line) in lines.enumerate() {
        if let Some((option, _)) = line.split_once('=') {
            last.insert(option, (number, line));
        }
    }
    let mut lost: Vec<_> = last
        .into_iter()
        .filter(|(option, (_, line))| match line.strip_suffix("=n") {
            Some(_) => ["=y", "=m"]
                .iter()
                .any(|on| got.contains(format!("{option}{on}").as_str())),
            None => !got.contains(line),
        })
        .map(|(_, numbered)| numbered)
        .collect();
    lost.sort_unstable();
    lost.into_iter().map(|(_, line)| line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unmet_lines_of_a_fragment() {
        let wanted = "# comment\nCONFIG_A=y\nCONFIG_B=n\nCONFIG_C=m\nCONFIG_D=n\nCONFIG_E=\"x\"\n";
        let got = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\n# CONFIG_D is not set\nCONFIG_E=\"x\"\n";
        assert_eq!(unmet(wanted, got), ["CONFIG_B=n", "CONFIG_C=m"]);
        assert!(unmet("", got).is_empty());
    }

    #[test]
    fn the_last_of_two_lines_counts() {
        assert!(unmet("CONFIG_A=y\nCONFIG_A=n\n", "# CONFIG_A is not set\n").is_empty());
    }
}
