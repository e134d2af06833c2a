// SPDX-License-Identifier: GPL-2.0

//! Programs of ours for an image: each a folder of the repository, compiled to a static executable.

use std::path::PathBuf;

use anyhow::{bail, Result};

use crate::project::Project;
use crate::tool;

/// A program to be compiled.
pub struct Program {
    /// What the terminal calls it.
    pub title: &'static str,
    /// Its folder in the repository.
    pub folder: &'static str,
    /// Where it is compiled, below the folder for what is built.
    pub target: &'static str,
    /// The executable, below that.
    pub executable: &'static str,
}

impl Program {
    /// Builds it; gives the executable.
    pub fn build(&self, project: &Project<'_>) -> Result<PathBuf> {
        let step = project.progress.step(self.title, "compiling");
        let target = project.places.build().join(self.target);
        // In its folder: cargo finds the flags for a static program there.
        let mut cargo = project
            .tools
            .command("cargo", &project.places.repo.join(self.folder));
        cargo
            .args(["build", "--release", "--locked", "--target-dir"])
            .arg(&target);
        tool::cargo(&mut cargo, &step, &target.join("build.log"))?;
        let program = target.join(self.executable);
        if !program.exists() {
            bail!("cargo made no {}", program.display());
        }
        step.done();
        Ok(program)
    }
}
