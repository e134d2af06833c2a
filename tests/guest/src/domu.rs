// SPDX-License-Identifier: GPL-2.0

//! Guests that run, made and destroyed by xl.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::sys;
use crate::xen::Kind;

const KERNEL: &str = "/guest/vmlinuz";
const INITRD: &str = "/guest/initrd";

/// Whether the image has what a guest needs.
pub fn available() -> bool {
    Path::new(KERNEL).exists() && Path::new(INITRD).exists()
}

/// A guest to be made.
#[derive(Debug)]
pub struct Guest {
    kind: Kind,
    name: String,
    command: Option<String>,
}

impl Guest {
    /// A guest of a kind, named after it.
    pub fn new(kind: Kind) -> Self {
        Self { kind, name: format!("{kind:?}").to_lowercase(), command: None }
    }

    /// A name of the caller's choice.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// What the guest runs before it powers off; commas stand for spaces.
    pub fn command(mut self, command: &str) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes the configuration file; gives its path.
    pub fn write_configuration(&self) -> std::io::Result<String> {
        let kind = match self.kind {
            Kind::Pv => "pv",
            Kind::Pvh => "pvh",
        };
        let command = self.command.as_ref().map(|c| format!(" xen_rust.cmd={c}")).unwrap_or_default();
        let path = format!("/tmp/{}.cfg", self.name);
        fs::write(
            &path,
            format!(
                "name = \"{}\"\ntype = \"{kind}\"\nkernel = \"{KERNEL}\"\nramdisk = \"{INITRD}\"\n\
                 extra = \"console=hvc0 quiet xen_rust.mode=domu{command}\"\nmemory = 128\nvcpus = 1\n\
                 on_crash = \"destroy\"\n",
                self.name
            ),
        )?;
        Ok(path)
    }

    /// Creates the guest and lets it run.
    pub fn create(&self) -> Result<Running, String> {
        let path = self.write_configuration().map_err(|e| e.to_string())?;
        xl(&["create", &path])?;
        let id = domain_id(&self.name).ok_or("the guest has no number")?;
        Ok(Running { name: self.name.clone(), id })
    }
}

/// A guest that runs; destroyed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    id: u16,
}

impl Running {
    /// Its number.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Destroys it and waits until it is gone.
    pub fn destroy(self) -> Result<(), String> {
        xl(&["destroy", &self.name])?;
        gone(&self.name).then_some(()).ok_or_else(|| format!("{} does not go", self.name))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = xl(&["destroy", &self.name]);
    }
}

/// Runs a command and gives its output if it succeeded, and what it said if not.
pub fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let Output { status, stdout, stderr } = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    let out = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() {
        return Ok(out);
    }
    let err = String::from_utf8_lossy(&stderr);
    Err(format!("{program} {}: {status}: {}{}", arguments.join(" "), out.trim(), err.trim()))
}

/// Runs xl.
pub fn xl(arguments: &[&str]) -> Result<String, String> {
    output("xl", arguments)
}

/// The number of a domain that xl knows by name.
pub fn domain_id(name: &str) -> Option<u16> {
    xl(&["domid", name]).ok()?.trim().parse().ok()
}

/// Whether a guest disappears, its pages included.
pub fn gone(name: &str) -> bool {
    sys::eventually(Duration::from_secs(30), || {
        xl(&["list"]).is_ok_and(|text| !text.lines().any(|l| l.starts_with(name) || l.starts_with("(null)")))
    })
}
