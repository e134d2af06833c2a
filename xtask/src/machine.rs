// SPDX-License-Identifier: GPL-2.0

//! The Debian dom0 that an installation is tried in: a tree that apt runs in as in a chroot, and the
//! machine in QEMU that boots it from a disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::archive;
use crate::console::Verdict;
use crate::cpio;
use crate::deb;
use crate::disk;
use crate::image;
use crate::ktap::Outcome;
use crate::lane::{Dom0, Drivers};
use crate::packaged::Packaged;
use crate::place;
use crate::project::{native, Project};
use crate::qemu::{self, DOMAINS_PROCESSORS};
use crate::root::{self, XEN};
use crate::sandbox;
use crate::step::Step;
use crate::tool::{self, Tools};

/// What the dom0 is made of, besides its kernel.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "e2fsprogs",
    "initramfs-tools",
    "kmod",
    // Newer releases than Debian 13 have it apart.
    "mount",
    "systemd-sysv",
    "udev",
    "xen-system-amd64",
    "zstd",
];

/// The files that are put into it, from the repository.
const FILES: &[(&str, &str)] = &[
    ("check", "usr/local/sbin/xen-rust-check"),
    (
        "xen-rust-check.service",
        "etc/systemd/system/xen-rust-check.service",
    ),
    ("guest.cfg", "etc/xen/auto/guest.cfg"),
    // What README.md has an administrator write.
    ("preferences", "etc/apt/preferences.d/kernel"),
];

/// And from here. The initramfs has what this machine needs: most of what it would have else is
/// unpacked for minutes.
const TEXTS: &[(&str, &str)] = &[
    ("etc/fstab", "/dev/sda / ext4 defaults 0 1\n"),
    ("etc/hostname", "dom0\n"),
    // Without one, systemd takes each boot for the first and asks for settings.
    ("etc/machine-id", "6d3e1f0a5b7c4e2f9a8b7c6d5e4f3a2b\n"),
    ("etc/initramfs-tools/conf.d/machine", "MODULES=list\n"),
    ("etc/initramfs-tools/modules", "ahci\nsd_mod\next4\n"),
    // Of what QEMU emulates, what nothing here uses.
    (
        "etc/modprobe.d/machine.conf",
        "blacklist i2c_i801\nblacklist iTCO_wdt\nblacklist lpc_ich\nblacklist pcspkr\nblacklist sg\n",
    ),
    // The tree is made anew for each run.
    ("etc/dpkg/dpkg.cfg.d/machine", "force-unsafe-io\n"),
    // Nothing is to be started in the chroot.
    ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n"),
];

const LINKS: &[(&str, &str)] = &[
    // A login prompt would be in the midst of the results.
    ("etc/systemd/system/serial-getty@hvc0.service", "/dev/null"),
    // Of a first boot, and minutes each where the processor is emulated.
    ("etc/systemd/system/ldconfig.service", "/dev/null"),
    (
        "etc/systemd/system/systemd-journal-catalog-update.service",
        "/dev/null",
    ),
    (
        "etc/systemd/system/graphical.target.wants/xen-rust-check.service",
        "/etc/systemd/system/xen-rust-check.service",
    ),
];

/// Where the package's modules are, and the kernel's own.
pub const OURS: &str = "/updates/dkms/";
pub const THEIRS: &str = "/kernel/drivers/xen/";

/// Those that serve a kernel with a balloon interface of its own.
const MODULES: [&str; 4] = ["xen-privcmd", "xen-evtchn", "xen-gntdev", "xenfs"];

/// Megabytes of the tree and of the disk together.
const SIZE: u64 = 8000;

/// The disk's size; it takes only what is in it.
const DISK: &str = "6G";

/// Megabytes of the machine and of dom0.
const MEMORY: u32 = 2048;
const DOM0_MEMORY: u32 = 1280;

/// systemd starts for some minutes without a word.
const SILENCE: Duration = Duration::from_secs(5 * 60);
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// One boot, and what dom0 has to show then.
pub struct Boot<'a> {
    pub name: &'static str,
    pub kernel: &'a Packaged,
    /// The version of our drivers; none for the kernel's own.
    pub version: Option<&'a str>,
}

impl Boot<'_> {
    fn what(&self) -> String {
        format!(
            "boot \"{}\" of Linux {} ({} drivers)",
            self.name,
            self.kernel.release,
            match self.drivers() {
                Drivers::Rust => "our",
                Drivers::C => "C",
            }
        )
    }

    fn drivers(&self) -> Drivers {
        match self.version {
            Some(_) => Drivers::Rust,
            None => Drivers::C,
        }
    }
}

/// The dom0.
pub struct Machine {
    dom0: Dom0,
    /// The folder of all of it.
    place: PathBuf,
    /// Its files, as a chroot.
    root: PathBuf,
    tools: Tools,
}

impl Machine {
    /// A minimal Debian of a release, given by name and sources, with Xen and a kernel.
    pub fn make(
        project: &Project<'_>,
        dom0: Dom0,
        debian: (&str, &[String]),
        kernel: &[String],
    ) -> Result<Self> {
        let place = project.places.build().join("install");
        place::remove_dir(&place)?;
        fs::create_dir_all(&place).with_context(|| format!("making {}", place.display()))?;
        disk::needs(&place, SIZE)?;
        // For the file system on its disk.
        if !native() {
            root::add(project.progress, &project.tools, &["e2fsprogs"])?;
        }
        let root = place.join("root");
        let step = project
            .progress
            .step("a Debian dom0", "downloading and unpacking its packages");
        root::bootstrap(debian, &step, &root, PACKAGES, &place.join("root.log"))?;
        step.done();
        sandbox::furnish(&root, &[])?;
        root::adopt(&root)?;
        let tools = Tools::new(Some(root.clone()), PathBuf::from("/tmp"));
        let machine = Self {
            dom0,
            place,
            root,
            tools,
        };
        machine.settle(project)?;
        machine.install(project, "kernel", kernel)?;
        Ok(machine)
    }

    /// Builds the package in a tree of a release and these packages.
    pub fn build(
        &self,
        project: &Project<'_>,
        debian: (&str, &[String]),
        packages: &[&str],
    ) -> Result<PathBuf> {
        let root = self.place.join("builder");
        let step = project.progress.step(
            format!("a Debian {} to build in", debian.0),
            "downloading and unpacking its packages",
        );
        let log = self.place.join("builder.log");
        root::bootstrap(debian, &step, &root, packages, &log)?;
        step.done();
        sandbox::furnish(&root, &[&project.places.build()])?;
        let tools = Tools::new(Some(root), PathBuf::from("/tmp"));
        deb::build_by(project, &tools, &project.places.build().join("deb"))
    }

    /// Puts in what makes it this machine's, and a guest.
    fn settle(&self, project: &Project<'_>) -> Result<()> {
        for (from, to) in FILES {
            let from = project.places.repo.join("tests/install").join(from);
            let to = self.root.join(to);
            if let Some(folder) = to.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
        for (path, text) in TEXTS {
            place::write(&self.root.join(path), text)?;
        }
        make_executable(&self.root.join("usr/sbin/policy-rc.d"))?;
        for (path, target) in LINKS {
            place::link(Path::new(target), &self.root.join(path))?;
        }
        // Debian's own settings, and after them where domains may run.
        let path = self.root.join(image::XL_CONFIGURATION);
        let mut xl =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        xl.push_str(&image::xl_configuration(Some(DOMAINS_PROCESSORS)));
        place::write(&path, xl)?;

        let mut guest = cpio::Archive::default();
        guest.copy("bin/busybox", &project.tools.file("/usr/bin/busybox"))?;
        for applet in ["sh", "sleep"] {
            guest.link(&format!("bin/{applet}"), "busybox");
        }
        guest.copy(
            "init",
            &project.places.repo.join("tests/install/guest-init"),
        )?;
        guest.character_device("dev/console", 5, 1);
        image::write(&guest, &self.root.join("var/lib/guest.cpio"))
    }

    /// Installs packages; gives what apt said.
    pub fn install(
        &self,
        project: &Project<'_>,
        name: &str,
        packages: &[String],
    ) -> Result<String> {
        self.apt(project, name, "install", packages)
    }

    pub fn remove(&self, project: &Project<'_>, name: &str, package: &str) -> Result<String> {
        self.apt(project, name, "remove", &[package.to_owned()])
    }

    pub fn purge(&self, project: &Project<'_>, name: &str, package: &str) -> Result<String> {
        self.apt(project, name, "purge", &[package.to_owned()])
    }

    fn apt(
        &self,
        project: &Project<'_>,
        name: &str,
        verb: &str,
        packages: &[String],
    ) -> Result<String> {
        let packages_named = packages.join(" ");
        let step = project.progress.step(
            format!("apt in dom0: {name}"),
            &format!("{verb} {packages_named}"),
        );
        let log = self.place.join(format!("apt-{name}.log"));
        if verb == "install" {
            let mut update = self.command("apt-get");
            update.args(["update", "--quiet"]);
            let ran = tool::watch(&mut update, &step, Some(&log), |_| {})?;
            if !ran.success {
                return Err(archive::explain(&ran, "the package lists"));
            }
        }
        let mut said = String::new();
        let mut apt = self.command("apt-get");
        apt.args(["--yes", "--quiet", verb]).args(packages);
        let ran = tool::watch(&mut apt, &step, Some(&log), |line| {
            said.push_str(line);
            said.push('\n');
        })?;
        if !ran.success {
            let tail: Vec<_> = ran.tail.into_iter().collect();
            bail!(
                "apt-get {verb} {packages_named} failed:\n{}\n(all of it: {})",
                tail.join("\n"),
                log.display()
            );
        }
        step.done();
        Ok(said)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.tools.command(program, Path::new("/"));
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// What the package of a signed image does in the end.
    pub fn finish(&self, project: &Project<'_>, kernel: &Packaged) -> Result<()> {
        let image = format!("/{}", kernel.image_file());
        let unsigned = format!("usr/lib/modules/{}/vmlinuz.unsigned", kernel.release);
        fs::copy(
            self.root.join(&unsigned),
            self.root.join(kernel.image_file()),
        )
        .with_context(|| format!("copying {unsigned}"))?;
        let step = project.progress.step("hooks of the kernel", &image);
        for arguments in [
            ["linux-update-symlinks", "install", &kernel.release, &image].as_slice(),
            &[
                "linux-run-hooks",
                "image",
                "postinst",
                &kernel.release,
                &image,
                "--",
                "configure",
            ],
        ] {
            let mut command = self.command(arguments[0]);
            tool::run(command.args(&arguments[1..]), &step, None)?;
        }
        step.done();
        Ok(())
    }

    /// The kernel that has been installed.
    pub fn kernel(&self) -> Result<Packaged> {
        let mut ask = self.command("linux-version");
        let releases = tool::output(ask.arg("list"))?;
        let release = releases.lines().last().context("no kernel is installed")?;
        let mut ask = self.command("dpkg-query");
        ask.args(["--show", "--showformat", "${Version}"]);
        ask.arg(format!("linux-image-{release}"));
        Ok(Packaged::installed(
            release.to_owned(),
            tool::output(&mut ask)?,
        ))
    }

    /// Whether our modules of this version are what `modprobe` takes for a kernel, or the kernel's own,
    /// which have none.
    pub fn takes(&self, kernel: &Packaged, version: Option<&str>) -> Result<bool> {
        let versions = self.modules(kernel, "version")?;
        Ok(versions
            .iter()
            .all(|found| found == version.unwrap_or_default()))
    }

    /// Whether what `modprobe` takes for a kernel is signed by DKMS.
    pub fn takes_signed_by_dkms(&self, kernel: &Packaged) -> Result<bool> {
        let signers = self.modules(kernel, "signer")?;
        Ok(signers.iter().all(|signer| signer.starts_with("DKMS ")))
    }

    /// A field of each of the modules that `modprobe` takes for a kernel.
    fn modules(&self, kernel: &Packaged, field: &str) -> Result<Vec<String>> {
        let mut values = Vec::new();
        for module in MODULES {
            let mut ask = self.command("modinfo");
            ask.args(["--set-version", &kernel.release]);
            ask.args(["--field", field, module]);
            values.push(tool::output(&mut ask)?.trim().to_owned());
        }
        Ok(values)
    }

    pub fn has_metadata(&self, release: &str) -> bool {
        let file = format!("var/lib/xen-rust-dkms/{release}/rust/libkernel.rmeta");
        self.root.join(file).exists()
    }

    /// Has our modules put into each initramfs, and each made anew with them.
    pub fn ask_for_initramfs(&self) -> Result<()> {
        for (path, text) in [
            ("etc/default/xen-rust-dkms", "REFRESH_INITRAMFS=yes\n"),
            ("etc/initramfs-tools/modules", &MODULES.join("\n")),
        ] {
            let path = self.root.join(path);
            let mut whole =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            whole.push_str(text);
            whole.push('\n');
            place::write(&path, whole)?;
        }
        Ok(())
    }

    /// Whether a kernel's initramfs has each of the modules from this folder, and from no other.
    pub fn initramfs_has(&self, kernel: &Packaged, folder: &str) -> Result<bool> {
        let mut list = self.command("lsinitramfs");
        list.arg(format!("/{}", kernel.initramfs_file()));
        let files = tool::output(&mut list)?;
        Ok(MODULES.iter().all(|module| {
            let name = format!("/{module}.ko");
            let mut found = files.lines().filter(|file| file.contains(&name)).peekable();
            found.peek().is_some() && found.all(|file| file.contains(folder))
        }))
    }

    /// The files that a package has left in the folders of packages.
    pub fn remains(&self, package: &str) -> Result<String> {
        let mut find = self.command("find");
        find.args(["/etc", "/usr/src", "/usr/sbin", "/usr/share", "/var/lib"]);
        find.args(["-name", &format!("{package}*")]);
        // What this test itself has put there.
        find.args(["!", "-name", "xen-rust-check*"]);
        tool::output(&mut find)
    }

    /// Boots it; gives what it shows.
    pub fn boot(&self, project: &Project<'_>, boot: &Boot<'_>) -> Result<Verdict> {
        let what = boot.what();
        let step = project.progress.step(&what, "making its disk");
        let disk = self.place.join("disk");
        self.make_disk(project, &disk, &step)?;
        let kernel = self.keep(&boot.kernel.image_file(), "vmlinuz")?;
        let initrd = self.keep(&boot.kernel.initramfs_file(), "initrd")?;
        let xen = qemu::unpack_xen(
            project,
            &self.root.join(format!("boot/xen-{XEN}-amd64.gz")),
            &self.place.join("xen"),
        )?;
        let machine = qemu::Installed {
            memory: MEMORY,
            dom0_memory: DOM0_MEMORY,
            dom0: self.dom0,
            xen: &xen,
            vmlinuz: &kernel,
            initrd: &initrd,
            disk: &disk,
            line: &format!(
                "systemd.show_status=no xen_rust.drivers={} xen_rust.version={}",
                boot.drivers().name(),
                boot.version.unwrap_or("none")
            ),
        };
        let log = self.place.join(format!("{}.log", boot.name));
        let started = Instant::now();
        let verdict = qemu::watch(
            machine.command(project),
            &log,
            SILENCE,
            LIMIT,
            |line, result| match result {
                Some((Outcome::Failed, test)) => {
                    project.progress.note(&format!("    failed: {test}"));
                }
                Some((_, test)) => step.says(&test),
                None => step.says(line),
            },
        )?;
        let (_, failed) = verdict.totals();
        if failed == 0 {
            step.done();
        } else {
            drop(step);
        }
        println!(
            "{what}: {} ({} s)",
            verdict.counts,
            started.elapsed().as_secs()
        );
        for problem in &verdict.problems {
            println!("    {problem}");
        }
        for failure in &verdict.failures {
            println!("    failed: {failure}");
        }
        if failed > 0 {
            for line in &verdict.evidence {
                println!("    | {line}");
            }
            println!("    (the whole console: {})", log.display());
        }
        Ok(verdict)
    }

    /// A disk with what the chroot has, but not what is mounted there.
    fn make_disk(&self, project: &Project<'_>, disk: &Path, step: &Step) -> Result<()> {
        place::ignore_missing(fs::remove_file(disk))?;
        let view = self.place.join("view");
        // Where the tools look, which do not see what is mounted here from now on.
        let seen = project.tools.file(&view.to_string_lossy());
        sandbox::view(&self.root, &seen)?;
        let mut make = project.tools.command("mke2fs", &self.place);
        make.args(["-q", "-t", "ext4", "-d"]).arg(&view);
        make.arg(disk).arg(DISK);
        let made = tool::run(&mut make, step, None);
        sandbox::unmount(&seen)?;
        made
    }

    /// Copies a file into it; gives the place there.
    pub fn take(&self, file: &Path) -> Result<String> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("/root/{name}");
        fs::copy(file, self.root.join(&place[1..]))
            .with_context(|| format!("copying {}", file.display()))?;
        Ok(place)
    }

    /// A copy of one of its files for QEMU to read, under a name without a comma or a space.
    fn keep(&self, path: &str, name: &str) -> Result<PathBuf> {
        let from = self.root.join(path);
        let to = self.place.join(name);
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(to)
    }

    /// Removes what takes room. The logs stay, and the folders that something is mounted on.
    pub fn forget(&self) -> Result<()> {
        place::ignore_missing(fs::remove_file(self.place.join("disk")))?;
        let mut remove = tool::host("rm", &self.place);
        remove.args(["-rf", "--one-file-system"]).arg(&self.root);
        // It does not like what it leaves.
        remove.output().context("starting rm")?;
        Ok(())
    }
}

fn make_executable(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("making {} executable", file.display()))
}
