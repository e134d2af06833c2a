// SPDX-License-Identifier: GPL-2.0

//! A guest with firmware and emulated devices, whose device model is Debian's QEMU: foreign mappings, an ioreq server's
//! pages by resource, device-model operations, event channels.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::disks::Loop;
use super::toolstack::run;
use crate::boot::{Drivers, Words};
use crate::domu;
use crate::ktap::{check, equal, fail, skip, Suite, Test, TestResult};
use crate::sys;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "device_model",
    tests: &[
        Test::new("boots_from_disk", boots_from_disk).seconds(300),
        Test::new("boots_from_disk_restricted", boots_from_disk_restricted).seconds(300),
    ],
};

const QEMU: &str = "/usr/libexec/xen-qemu-system-i386";
const IMAGE: &str = "/tmp/boot.img";
const SERIAL: &str = "/tmp/hvm.serial";
const NAME: &str = "hvm";
/// Where libxl has QEMU say what is wrong.
const LOG: &str = "/var/log/xen/qemu-dm-hvm.log";
/// The first user of those that a restricted device model can be; it is followed by as many as there can be domains.
const USERS: u32 = 131_072;

/// QEMU, where its rights are restricted; `docs/clients.md` says what for: the one that is only asked for its options
/// must not remove the other's socket, and the other needs larger files than libxl lets it have.
const RESTRICTED: &str = "/tmp/qemu-restricted";
const RESTRICTED_TEXT: &str = "#!/bin/sh
case \"$*\" in
*-xen-domid*) ulimit -f unlimited; exec /usr/libexec/xen-qemu-system-i386 \"$@\" ;;
esac
exec unshare -m sh -c 'mount -t tmpfs none /run/xen && exec /usr/libexec/xen-qemu-system-i386 \"$@\"' sh \"$@\"
";

/// What the firmware reads from the disk and starts, in real mode at 0x7c00: it writes the text behind it to the first
/// serial port, and halts.
const PROGRAM: &[u8] = &[
    0x31, 0xc0, // xor ax, ax
    0x8e, 0xd8, // mov ds, ax
    0xbe, 0x15, 0x7c, // mov si, text
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz end
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xf4, // end: hlt
    0xeb, 0xfd, // jmp end
];
const TEXT: &str = "started from the disk";

fn disk() -> Vec<u8> {
    let mut disk = PROGRAM.to_vec();
    disk.extend(TEXT.bytes());
    disk.resize(1 << 20, 0);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// What the device model may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    All,
    /// It is a user of its own, and its files serve this guest only. It can be no backend then.
    Restricted,
}

/// The guest; gone when dropped.
struct Hvm {
    id: u16,
    _device: Option<Loop>,
}

impl Hvm {
    fn create(rights: Rights) -> TestResult<Self> {
        fs::write(IMAGE, disk())?;
        let device = match rights {
            Rights::All => None,
            Rights::Restricted => Some(Loop::new(IMAGE)?),
        };
        // Who serves the disk to the guest's own drivers; what the firmware reads is emulated in any case.
        let (backend, target) = match &device {
            None => ("qdisk", IMAGE),
            Some(device) => ("phy", device.path()),
        };
        let mut text = format!(
            "name = \"{NAME}\"\ntype = \"hvm\"\nmemory = 64\nvcpus = 1\nvnc = 0\nsdl = 0\nvga = \"stdvga\"\n\
             videoram = 16\nserial = \"file:{SERIAL}\"\n\
             disk = [ \"format=raw,vdev=hda,access=rw,backendtype={backend},target={target}\" ]\n"
        );
        if rights == Rights::Restricted {
            fs::write(RESTRICTED, RESTRICTED_TEXT)?;
            fs::set_permissions(RESTRICTED, Permissions::from_mode(0o755))?;
            text += &format!(
                "dm_restrict = 1\nvkb_device = 0\ndevice_model_version = \"qemu-xen\"\n\
                 device_model_override = \"{RESTRICTED}\"\n"
            );
        }
        let path = format!("/tmp/{NAME}.cfg");
        fs::write(&path, text)?;
        let created = domu::xl(&["create", &path]);
        // Destroyed if it is there, whatever xl said.
        let guest = domu::domain_id(NAME).map(|id| Self {
            id,
            _device: device,
        });
        if let Err(said) = created {
            let more = fs::read_to_string(LOG).unwrap_or_default();
            return fail(format_args!("{said}\nQEMU: {more}"));
        }
        guest.map_or_else(|| fail("the guest has no number"), Ok)
    }

    /// The process of its device model.
    fn device_model(&self) -> TestResult<u32> {
        let text = run(
            "xenstore-read",
            &[&format!("/local/domain/{}/image/device-model-pid", self.id)],
        )?;
        text.trim()
            .parse()
            .or_else(|_| fail(format_args!("QEMU's process is {text:?}")))
    }
}

impl Drop for Hvm {
    fn drop(&mut self) {
        let _ = domu::xl(&["destroy", NAME]);
        let _ = domu::gone(NAME);
        for file in [IMAGE, SERIAL, RESTRICTED] {
            let _ = fs::remove_file(file);
        }
    }
}

/// Waits until the firmware has started what is on the disk.
fn boot(rights: Rights) -> TestResult<Hvm> {
    let guest = Hvm::create(rights)?;
    let mut said = String::new();
    sys::eventually(Duration::from_secs(120), || {
        said = fs::read_to_string(SERIAL).unwrap_or_default();
        said.contains(TEXT)
    });
    equal(
        said.trim_end_matches('\0'),
        TEXT,
        "what came by the serial port",
    )?;
    Ok(guest)
}

fn boots_from_disk() -> TestResult {
    if !Path::new(QEMU).exists() {
        return skip("the image has no QEMU");
    }
    let guest = boot(Rights::All)?;
    let path = format!("/local/domain/0/device-model/{}/state", guest.id);
    equal(
        run("xenstore-read", &[&path])?.trim(),
        "running",
        "QEMU's state",
    )?;
    guest.device_model().map(drop)
}

/// The user of a process.
fn user(pid: u32) -> TestResult<Option<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    Ok(line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()))
}

/// Each of Xen's devices that a process has open, with whom that file says it is restricted to.
fn devices(pid: u32) -> TestResult<Vec<(String, Option<String>)>> {
    let mut devices = Vec::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let path = fs::read_link(file.path()).unwrap_or_default();
        if !path.starts_with("/dev/xen") {
            continue;
        }
        let number = file.file_name().to_string_lossy().into_owned();
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}"))?;
        let whom = info.lines().find_map(|line| {
            let (name, whom) = line.split_once(':')?;
            (name == "restricted-to" || name.ends_with("-restricted"))
                .then(|| whom.trim().to_owned())
        });
        devices.push((path.display().to_string(), whom));
    }
    Ok(devices)
}

fn boots_from_disk_restricted() -> TestResult {
    if !Path::new(QEMU).exists() {
        return skip("the image has no QEMU");
    }
    if !Path::new("/proc/self/ns/ipc").exists() {
        return skip("libxl wants a kernel with name spaces for IPC");
    }
    let guest = boot(Rights::Restricted)?;
    let pid = guest.device_model()?;
    equal(
        user(pid)?,
        Some(USERS + u32::from(guest.id)),
        "the user that QEMU is",
    )?;
    let devices = devices(pid)?;
    for name in ["privcmd", "evtchn"] {
        check(
            devices.iter().any(|(path, _)| path.ends_with(name)),
            format_args!("QEMU has no {name} open: {devices:?}"),
        )?;
    }
    if Words::read().drivers() == Drivers::C {
        // Its files do not tell.
        return Ok(());
    }
    let whom = Some(guest.id.to_string());
    let free: Vec<_> = devices.iter().filter(|(_, to)| to != &whom).collect();
    equal(
        free,
        Vec::new(),
        "files that are not restricted to the guest",
    )
}
