// SPDX-License-Identifier: GPL-2.0

//! The system that is looked at: this one, or for tests a copy of the files that matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// A system's files.
pub struct System {
    root: PathBuf,
}

impl System {
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Where an absolute path is.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// A small file's text without the newline at its end, if it can be read.
    pub fn text(&self, path: &str) -> Option<String> {
        let text = fs::read(self.path(path)).ok()?;
        Some(String::from_utf8_lossy(&text).trim_end().to_owned())
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub fn names(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(path))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// What the running kernel calls itself.
    pub fn release(&self) -> Result<String> {
        self.text("/proc/sys/kernel/osrelease")
            .context("/proc/sys/kernel/osrelease cannot be read: is /proc mounted?")
    }

    /// A field of an installed module, as modprobe would find it: compressed, and in the folder that
    /// wins.
    pub fn module_field(&self, release: &str, module: &str, field: &str) -> Option<String> {
        let output = Command::new("modinfo")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .arg("--basedir")
            .arg(&self.root)
            .args(["--set-version", release, "--field", field, module])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }
}
