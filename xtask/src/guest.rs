// SPDX-License-Identifier: GPL-2.0

//! The programs that run in dom0 and in its guests: one static executable.

use std::path::PathBuf;

use anyhow::Result;

use crate::program::Program;
use crate::project::Project;

/// The guest programs' folder in the repository.
pub const FOLDER: &str = "tests/guest";

/// The executable is the image's first process, and a test suite by other names.
const PROGRAM: Program = Program {
    title: "guest programs",
    folder: FOLDER,
    target: "guest",
    executable: "release/xen-guest",
};

/// Builds the guest programs; gives the executable.
pub fn build(project: &Project<'_>) -> Result<PathBuf> {
    PROGRAM.build(project)
}
