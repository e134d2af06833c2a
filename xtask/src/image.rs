// SPDX-License-Identifier: GPL-2.0

//! Initramfs images: Debian's own programs with the libraries they load, our modules beside the
//! kernel's, and a guest to start.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cpio::Archive;
use crate::elf;
use crate::fuzz;
use crate::kernel::{self, Kernel, REFERENCE};
use crate::modules;
use crate::place::{self, temporary};
use crate::project::Project;
use crate::qemu::DOMAINS_PROCESSORS;
use crate::root::XEN;
use crate::tool::{self, Tools};

/// Where the kernel's own C drivers are found by those who want them by name.
const REFERENCE_FOLDER: &str = "usr/lib/reference";

/// The tests that run in dom0's kernel only.
const KUNIT: &str = "xen-kunit.ko";

const FOLDERS: &[&str] = &[
    "dev/pts",
    "dev/shm",
    "etc/xen",
    "mnt",
    "proc",
    "root",
    "run/lock",
    "run/xen",
    "sys",
    "tmp",
    "var/lib/xen",
    "var/lib/xenstored",
    "var/log/xen",
];

const LINKS: &[(&str, &str)] = &[
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("sbin", "usr/sbin"),
    ("var/lock", "/run/lock"),
    ("var/run", "/run"),
    ("init", "usr/lib/xen-rust/xen-guest"),
];

const TEXTS: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
];

/// Where xl looks for what holds for all that it does.
pub const XL_CONFIGURATION: &str = "etc/xen/xl.conf";

/// What it finds there: dom0's memory is left alone, and guests keep to these processors, if there
/// is a choice.
pub fn xl_configuration(processors: Option<&str>) -> String {
    let mut text = String::from("autoballoon=\"off\"\n");
    if let Some(processors) = processors {
        text.push_str(&format!("vm.cpumask=\"{processors}\"\n"));
    }
    text
}

/// Debian's service, and what it uses that is not among Xen's programs.
const SERVICE: &[&str] = &[
    "/etc/init.d/xen",
    "/etc/xen/oxenstored.conf",
    "/usr/lib/init/vars.sh",
    "/usr/lib/lsb/init-functions",
    "/usr/lib/xen-common/bin/xen-dir",
    "/usr/lib/xen-common/bin/xen-version",
];
const SERVICE_PROGRAMS: &[&str] = &[
    "/usr/bin/choom",
    "/usr/bin/dash",
    "/usr/sbin/start-stop-daemon",
];

/// Builds dom0's image for a kernel with our modules; gives the file.
///
/// The kernel's own C drivers are in it, too, where a distribution has them.
pub fn dom0(
    project: &Project<'_>,
    kernel: &Kernel,
    modules: &Path,
    guest: &Path,
) -> Result<PathBuf> {
    let theirs = match kernel.lane.guest_lane() {
        lane if lane == kernel.lane => None,
        lane => Some(kernel::ensure(project, lane)?),
    };
    let guest_kernel = theirs.as_ref().unwrap_or(kernel);
    let guest_modules = match &theirs {
        None => modules.to_owned(),
        Some(kernel) => modules::build(project, kernel)?,
    };
    let step = project.progress.step(
        format!("dom0 image for lane {}", kernel.lane.name()),
        "collecting files",
    );
    let mut image = base(&project.tools, guest)?;
    xen(&project.tools, &mut image)?;
    image.text(
        XL_CONFIGURATION,
        &xl_configuration(Some(DOMAINS_PROCESSORS)),
    );
    fuzz::add(&project.places.repo, &mut image)?;
    let stripped = strip(project, kernel, modules)?;
    kernel_modules(project, kernel, &stripped, &mut image)?;

    let build = project.places.lane(kernel.lane);
    let mut domu = base(&project.tools, guest)?;
    for name in REFERENCE {
        let file = format!("{name}.ko");
        domu.copy(
            &format!("{REFERENCE_FOLDER}/{file}"),
            &guest_kernel.reference.join(&file),
        )?;
    }
    let guest_stripped = match &theirs {
        None => stripped,
        Some(kernel) => strip(project, kernel, &guest_modules)?,
    };
    add_guest_modules(project, guest_kernel, &guest_stripped, &mut domu)?;
    let initrd = build.join("domu.cpio");
    write(&domu, &initrd)?;
    image.copy("guest/vmlinuz", &guest_kernel.vmlinuz)?;
    image.copy("guest/initrd", &initrd)?;

    let file = build.join("dom0.cpio");
    write(&image, &file)?;
    step.done();
    Ok(file)
}

/// What any image has: folders, busybox, the guest programs as first process.
fn base(tools: &Tools, guest: &Path) -> Result<Archive> {
    let mut image = Archive::default();
    for folder in FOLDERS {
        image.directory(folder);
    }
    for (path, target) in LINKS {
        image.link(path, target);
    }
    for (path, text) in TEXTS {
        image.text(path, text);
    }
    // The first process' console, before it has mounted anything.
    image.character_device("dev/console", 5, 1);
    image.character_device("dev/null", 1, 3);
    image.directory("usr/lib64");
    image.copy("usr/lib/xen-rust/xen-guest", guest)?;

    let busybox = tools.file("/usr/bin/busybox");
    image.copy("usr/bin/busybox", &busybox)?;
    let applets = tool::output(tools.command("busybox", Path::new("/")).arg("--list"))?;
    for applet in applets
        .lines()
        .filter(|applet| !["busybox", "init", "linuxrc"].contains(applet))
    {
        image.link(&format!("usr/bin/{applet}"), "busybox");
    }
    Ok(image)
}

/// Adds Xen's programs, kmod, and what they load.
fn xen(tools: &Tools, image: &mut Archive) -> Result<()> {
    let mut programs = Vec::new();
    let xen_bin = format!("/usr/lib/xen-{XEN}/bin");
    for folder in [xen_bin.as_str(), "/usr/bin"] {
        let dir = tools.file(folder);
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let file = dir.join(&name);
            let wanted = folder == xen_bin || name.starts_with("xenstore");
            // Some names are links to packages that are not installed.
            if !wanted || !file.is_file() {
                continue;
            }
            image.copy(&format!("{}/{name}", &folder[1..]), &file)?;
            if folder == xen_bin {
                image.link(&format!("usr/bin/{name}"), &format!("{folder}/{name}"));
            }
            programs.push(file);
        }
    }
    let hvmloader = format!("usr/lib/xen-{XEN}/boot/hvmloader");
    image.copy(&hvmloader, &tools.file(&format!("/{hvmloader}")))?;

    // Loaded by oxenstored, which looks nowhere else.
    let plugins = format!("/usr/lib/xen-{XEN}/ocaml/xsd_glue");
    let folder = tools.file(&plugins);
    if folder.is_dir() {
        add_tree(image, &folder, &plugins[1..])?;
    }

    let kmod = tools.file("/usr/bin/kmod");
    image.copy("usr/bin/kmod", &kmod)?;
    for name in ["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"] {
        for folder in ["usr/bin", "usr/sbin"] {
            image.link(&format!("{folder}/{name}"), "/usr/bin/kmod");
        }
    }
    programs.push(kmod);

    for path in SERVICE.iter().chain(SERVICE_PROGRAMS) {
        image.copy(&path[1..], &tools.file(path))?;
    }
    programs.extend(SERVICE_PROGRAMS.iter().map(|path| tools.file(path)));

    let mut libraries = elf::closure(tools, programs.iter().map(PathBuf::as_path))?;
    // Loaded by pthread_cancel, which no header tells.
    libraries.extend(elf::library(tools, "libgcc_s.so.1"));
    for path in libraries {
        let place = path.trim_start_matches('/');
        // /lib and /lib64 are links in the image as they are in Debian.
        let place = match place.strip_prefix("lib") {
            Some(_) => format!("usr/{place}"),
            None => place.to_owned(),
        };
        image.copy(&place, &tools.file(&path))?;
    }
    Ok(())
}

/// Copies modules without what is for debuggers, as an installation has them too: with it they are
/// larger than a small guest.
fn strip(project: &Project<'_>, kernel: &Kernel, modules: &Path) -> Result<PathBuf> {
    let stripped = project.places.lane(kernel.lane).join("stripped");
    place::remove_dir(&stripped)?;
    fs::create_dir_all(&stripped).with_context(|| format!("making {}", stripped.display()))?;
    for entry in fs::read_dir(modules)? {
        let path = entry?.path();
        let mut strip = project.tools.command("strip", &stripped);
        strip
            .args(["--strip-debug", "-o"])
            .arg(stripped.join(path.file_name().unwrap_or_default()))
            .arg(&path);
        tool::output(&mut strip)?;
    }
    Ok(stripped)
}

/// Adds our modules where they win over the kernel's own, as an installation has them.
fn kernel_modules(
    project: &Project<'_>,
    kernel: &Kernel,
    modules: &Path,
    image: &mut Archive,
) -> Result<()> {
    // depmod works on real files: a tree of them, to be read into the image.
    let tree = project.places.lane(kernel.lane).join("depmod");
    place::remove_dir(&tree)?;
    let base = tree.join("lib/modules").join(&kernel.release);
    let ours = base.join("updates");
    let own = base.join("kernel/drivers/xen");
    for dir in [&ours, &own] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    for entry in fs::read_dir(modules)? {
        let path = entry?.path();
        fs::copy(&path, ours.join(path.file_name().unwrap_or_default()))?;
    }
    for name in REFERENCE {
        let file = format!("{name}.ko");
        fs::copy(kernel.reference.join(&file), own.join(&file))?;
        image.link(
            &format!("{REFERENCE_FOLDER}/{file}"),
            &format!(
                "/usr/lib/modules/{}/kernel/drivers/xen/{file}",
                kernel.release
            ),
        );
    }
    for list in [
        "modules.order",
        "modules.builtin",
        "modules.builtin.modinfo",
    ] {
        fs::copy(kernel.builtin_lists.join(list), base.join(list))
            .with_context(|| format!("copying {list}"))?;
    }
    let mut depmod = project.tools.command("depmod", &tree);
    tool::output(depmod.arg("-b").arg(&tree).arg(&kernel.release))?;
    add_tree(image, &tree, "usr")?;
    place::remove_dir(&tree)
}

/// Adds our drivers where they are in dom0's image, for those guests that load one of them.
///
/// They are signed where the kernel has its own key: then a kernel that is locked down takes them.
fn add_guest_modules(
    project: &Project<'_>,
    kernel: &Kernel,
    modules: &Path,
    image: &mut Archive,
) -> Result<()> {
    let signer = kernel.objects.join("scripts/sign-file");
    let key = kernel.objects.join("certs/signing_key.pem");
    let certificate = kernel.objects.join("certs/signing_key.x509");
    let can_sign = [&signer, &key, &certificate].iter().all(|f| f.exists());
    let signed = project.places.lane(kernel.lane).join("signed.ko");

    for entry in fs::read_dir(modules)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == KUNIT {
            continue;
        }
        let place = format!("usr/lib/modules/{}/updates/{name}", kernel.release);
        if !can_sign {
            image.copy(&place, &path)?;
            continue;
        }
        let mut sign = project
            .tools
            .command(&signer.to_string_lossy(), &kernel.objects);
        sign.arg("sha512")
            .args([&key, &certificate, &path, &signed]);
        tool::output(&mut sign)?;
        image.bytes(
            &place,
            fs::read(&signed).context("reading a signed module")?,
        );
    }
    Ok(())
}

fn add_tree(image: &mut Archive, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let path = format!("{to}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            add_tree(image, &entry.path(), &path)?;
        } else {
            let content = fs::read(entry.path())?;
            image.bytes(&path, content);
        }
    }
    Ok(())
}

/// Writes an archive whole or not at all.
pub fn write(image: &Archive, file: &Path) -> Result<()> {
    let fresh = temporary(file);
    let out = File::create(&fresh).with_context(|| format!("making {}", fresh.display()))?;
    let mut out = BufWriter::new(out);
    image
        .write(&mut out)
        .and_then(|()| Ok(out.flush()?))
        .and_then(|()| Ok(fs::rename(&fresh, file)?))
        .with_context(|| format!("writing {}", file.display()))
}
