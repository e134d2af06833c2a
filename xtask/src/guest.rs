// SPDX-License-Identifier: GPL-2.0

//! The programs that run in dom0 and in its guests: one static executable.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::project::Project;
use crate::tool;

/// The guest programs' folder in the repository.
pub const FOLDER: &str = "tests/guest";

/// The executable's name. It is the image's first process, and a test suite by other names.
const PROGRAM: &str = "xen-guest";

/// Builds the guest programs; gives the executable.
pub fn build(project: &Project<'_>) -> Result<PathBuf> {
    let step = project.progress.step("guest programs", "compiling");
    let target = project.places.build().join("guest");
    // In its folder: cargo finds the flags for a static program there.
    let mut cargo = project
        .tools
        .command("cargo", &project.places.repo.join(FOLDER));
    cargo
        .args(["build", "--release", "--locked", "--target-dir"])
        .arg(&target);
    tool::cargo(&mut cargo, &step, &target.join("build.log"))?;
    let program = target.join("release").join(PROGRAM);
    if !program.exists() {
        bail!("cargo made no {}", program.display());
    }
    step.done();
    Ok(program)
}
