// SPDX-License-Identifier: GPL-2.0

//! The command on made-up systems.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const RELEASE: &str = "7.2.12+deb13-amd64";

/// A system that exists only as files.
struct System(TempDir);

impl System {
    /// One on Xen, without any driver.
    fn on_xen() -> Self {
        let system = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("proc/sys/kernel/osrelease", RELEASE),
            ("sys/hypervisor/type", "xen\n"),
            ("sys/hypervisor/guest_type", "PV\n"),
            ("sys/hypervisor/version/major", "4\n"),
            ("sys/hypervisor/version/minor", "20\n"),
            ("sys/hypervisor/version/extra", ".1\n"),
        ] {
            system.write(path, text);
        }
        system
    }

    /// One with all devices, which our drivers serve.
    fn with_ours() -> Self {
        let system = Self::on_xen();
        for module in ["xen_privcmd", "xen_evtchn", "xen_gntdev", "xenfs"] {
            system.load(module, Some("0.1.0"));
        }
        for device in ["privcmd", "hypercall", "evtchn", "gntdev"] {
            system.write(&format!("dev/xen/{device}"), "");
        }
        system.write("proc/xen/capabilities", "control_d\n");
        system.write(
            "sys/devices/system/xen_memory/xen_memory0/scrub_pages",
            "1\n",
        );
        system
    }

    fn write(&self, path: &str, text: &str) {
        let file = self.0.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn load(&self, module: &str, version: Option<&str>) {
        self.write(&format!("sys/module/{module}/initstate"), "live\n");
        if let Some(version) = version {
            self.write(&format!("sys/module/{module}/version"), version);
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(self.0.path(), arguments)
    }

    /// The exit status and the JSON.
    fn json(&self) -> (i32, Value) {
        let output = self.run(&["--json"]);
        let json = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), json)
    }
}

fn run(root: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xen-rust-status"))
        .arg("--root")
        .arg(root)
        .args(arguments)
        .output()
        .unwrap()
}

fn driver(report: &Value, path: &str) -> String {
    let devices = report["devices"].as_array().unwrap();
    let device = devices.iter().find(|it| it["path"] == path).unwrap();
    device["driver"].as_str().unwrap().to_owned()
}

#[test]
fn ours_everywhere_is_well() {
    let (status, report) = System::with_ours().json();
    assert_eq!(report["warnings"], serde_json::json!([]));
    assert_eq!(driver(&report, "/dev/xen/hypercall"), "rust");
    assert_eq!(report["balloon_built_in"], true);
    assert_eq!(report["xen"]["version"], "4.20.1");
    assert_eq!(report["xen"]["control_domain"], true);
    assert_eq!(status, 0);
}

#[test]
fn the_kernel_s_own_driver_is_told_from_ours() {
    let system = System::with_ours();
    fs::remove_file(system.0.path().join("sys/module/xen_gntdev/version")).unwrap();
    let (status, report) = system.json();
    assert_eq!(driver(&report, "/dev/xen/gntdev"), "c");
    assert_eq!(driver(&report, "/dev/xen/evtchn"), "rust");
    assert_eq!(status, 1);
}

#[test]
fn a_missing_device_and_its_remedy_are_told() {
    let system = System::with_ours();
    fs::remove_dir_all(system.0.path().join("proc/xen")).unwrap();
    let (status, report) = system.json();
    assert_eq!(driver(&report, "/proc/xen/capabilities"), "none");
    let warning = report["warnings"][0].as_str().unwrap();
    assert!(warning.contains("mount -t xenfs"), "{warning}");
    assert_eq!(status, 1);
}

#[test]
fn warnings() {
    for (path, text, words) in [
        (
            "sys/devices/system/xen_memory/xen_memory0/scrub_pages",
            "0\n",
            "scrubbing is off",
        ),
        (
            "sys/module/xen_privcmd/parameters/unrestricted",
            "Y\n",
            "loaded with unrestricted",
        ),
        (
            "var/lib/xen-rust-dkms/7.2.12+deb13-amd64.reason",
            "rustc is missing: install it\n",
            "rustc is missing",
        ),
    ] {
        let system = System::with_ours();
        system.write(path, text);
        let (status, report) = system.json();
        let warning = report["warnings"][0].as_str().unwrap();
        assert!(warning.contains(words), "{warning}");
        assert_eq!(status, 1);
    }
}

#[test]
fn open_files_are_listed_with_what_they_hold() {
    let system = System::with_ours();
    system.write("proc/42/comm", "qemu\n");
    system.write("proc/42/fd/.keep", "");
    let fd = system.0.path().join("proc/42/fd");
    symlink("/dev/xen/privcmd", fd.join("7")).unwrap();
    symlink("/dev/null", fd.join("0")).unwrap();
    system.write(
        "proc/42/fdinfo/7",
        "pos:\t0\nrestricted-to:\t3\nranges:\t1\nframes:\t9 of domain 3\n",
    );
    let (status, report) = system.json();
    let files = report["open_files"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0]["process"], 42);
    assert_eq!(files[0]["restricted_to"], 3);
    assert_eq!(files[0]["holds"][2]["value"], "9 of domain 3");
    assert_eq!(status, 0);
    let text = String::from_utf8(system.run(&[]).stdout).unwrap();
    let line = "qemu (42), descriptor 7: /dev/xen/privcmd, restricted to domain 3";
    assert!(text.contains(line), "{text}");
}

#[test]
fn without_xen_there_is_nothing_to_be_well() {
    let system = System(tempfile::tempdir().unwrap());
    system.write("proc/sys/kernel/osrelease", RELEASE);
    let (status, report) = system.json();
    assert_eq!(report["xen"], Value::Null);
    assert_eq!(status, 1);
}

#[test]
fn what_is_no_system_cannot_be_told_of() {
    let output = run(Path::new("/nonexistent"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
