// SPDX-License-Identifier: GPL-2.0

//! `make clippy`, `make fmt`, `make fmt-check`: with the build root's tools, so that every host
//! says the same.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::bench;
use crate::clients;
use crate::guest;
use crate::kernel;
use crate::lane::Lane;
use crate::modules::{self, How};
use crate::project::Project;
use crate::tool;

/// The command that tells which driver serves each device.
pub const STATUS: &str = "tools/xen-rust-status";

/// Folders with Rust code, and those of them that are crates of cargo's.
const CODE: &[&str] = &["drivers", "rust", "tests", "tools", "xtask/src"];
const CRATES: &[&str] = &[
    "xtask",
    guest::FOLDER,
    bench::FOLDER,
    clients::FOLDER,
    "tests/host",
    STATUS,
];

/// Lints everything; a warning is a failure.
pub fn clippy(project: &Project<'_>, lane: Lane) -> Result<()> {
    let kernel = kernel::ensure(project, lane)?;
    modules::compile(project, &kernel, How::Clippy)?;
    for folder in CRATES {
        let dir = project.places.repo.join(folder);
        if !dir.exists() {
            continue;
        }
        let target = project
            .places
            .build()
            .join("clippy")
            .join(folder.replace('/', "-"));
        let step = project
            .progress
            .step(format!("clippy {folder}"), "compiling");
        let mut cargo = project.tools.command("cargo", &dir);
        cargo
            .args(["clippy", "--locked", "--all-targets", "--target-dir"])
            .arg(&target);
        cargo.args(["--", "-Dwarnings"]);
        tool::cargo(&mut cargo, &step, &target.join("clippy.log"))?;
        step.done();
    }
    Ok(())
}

/// Formats all Rust code, or with `check` says what is not formatted.
pub fn format(project: &Project<'_>, check: bool) -> Result<()> {
    let mut files = Vec::new();
    for folder in CODE {
        rust_files(&project.places.repo.join(folder), &mut files)?;
    }
    files.sort();
    let what = if check { "format check" } else { "format" };
    let step = project.progress.step(what, "reading all Rust code");
    let mut rustfmt = project.tools.command("rustfmt", &project.places.repo);
    rustfmt.args(["--edition", "2021"]).args(&files);
    if check {
        rustfmt.arg("--check");
    }
    let output = rustfmt.output().context("starting rustfmt")?;
    if !output.status.success() {
        bail!(
            "rustfmt is not content:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    step.done();
    Ok(())
}

/// Adds the Rust files below a folder, except what tools made.
fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" {
                rust_files(&path, found)?;
            }
        } else if name.ends_with(".rs") && !name.ends_with("_generated.rs") {
            found.push(path);
        }
    }
    Ok(())
}
