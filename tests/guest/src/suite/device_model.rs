// SPDX-License-Identifier: GPL-2.0

//! A guest with firmware and emulated devices, whose device model is Debian's QEMU: foreign mappings, an ioreq server's
//! pages by resource, device-model operations, event channels.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::toolstack::run;
use crate::domu;
use crate::ktap::{equal, fail, skip, Suite, Test, TestResult};
use crate::sys;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "device_model",
    tests: &[Test::new("boots_from_disk", boots_from_disk).seconds(300)],
};

const QEMU: &str = "/usr/libexec/xen-qemu-system-i386";
const IMAGE: &str = "/tmp/boot.img";
const SERIAL: &str = "/tmp/hvm.serial";
const NAME: &str = "hvm";
/// Where libxl has QEMU say what is wrong.
const LOG: &str = "/var/log/xen/qemu-dm-hvm.log";

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

/// The guest; gone when dropped.
struct Hvm {
    id: u16,
}

impl Hvm {
    fn create() -> TestResult<Self> {
        fs::write(IMAGE, disk())?;
        let path = format!("/tmp/{NAME}.cfg");
        fs::write(
            &path,
            format!(
                "name = \"{NAME}\"\ntype = \"hvm\"\nmemory = 64\nvcpus = 1\nvnc = 0\nsdl = 0\nvga = \"stdvga\"\n\
                 videoram = 16\nserial = \"file:{SERIAL}\"\n\
                 disk = [ \"format=raw,vdev=hda,access=rw,backendtype=qdisk,target={IMAGE}\" ]\n"
            ),
        )?;
        let created = domu::xl(&["create", &path]);
        let id = domu::domain_id(NAME);
        // Destroyed if it is there, whatever xl said.
        let guest = id.map(|id| Self { id });
        if let Err(said) = created {
            let more = fs::read_to_string(LOG).unwrap_or_default();
            return fail(format_args!("{said}\nQEMU: {more}"));
        }
        guest.map_or_else(|| fail("the guest has no number"), Ok)
    }

    /// The process of its device model.
    fn device_model(&self) -> TestResult<u32> {
        let path = format!("/local/domain/0/device-model/{}/state", self.id);
        equal(
            run("xenstore-read", &[&path])?.trim(),
            "running",
            "QEMU's state",
        )?;
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
        for file in [IMAGE, SERIAL] {
            let _ = fs::remove_file(file);
        }
    }
}

/// Waits until the firmware has started what is on the disk.
fn boot() -> TestResult<Hvm> {
    let guest = Hvm::create()?;
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
    let guest = boot()?;
    guest.device_model().map(drop)
}
