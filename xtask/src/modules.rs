// SPDX-License-Identifier: GPL-2.0

//! Our modules, built for a lane.
//!
//! Each lane's objects are in a folder of their own, so that the clone stays clean and the lanes do
//! not disturb each other.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::error::{surroundings, DISK_FULL};
use crate::kernel::{self, Kernel};
use crate::place;
use crate::project::Project;
use crate::tool::{self, TAIL};

/// Where Kbuild leaves objects when it is called in the clone itself.
const FOLDERS: &[&str] = &[
    "rust",
    "drivers",
    "tests/kunit",
    "tests/floor",
    "tests/kernel",
];

/// How the modules are compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Build,
    /// With clippy's and the compilers' warnings as errors.
    Clippy,
}

impl How {
    fn folder(self) -> &'static str {
        match self {
            How::Build => "objects",
            How::Clippy => "clippy",
        }
    }
}

/// Builds our modules for a kernel; gives the folder that has them.
pub fn build(project: &Project<'_>, kernel: &Kernel) -> Result<PathBuf> {
    let objects = compile(project, kernel, How::Build)?;
    let order =
        fs::read_to_string(objects.join("modules.order")).context("reading modules.order")?;
    let dir = project.places.lane(kernel.lane).join("modules");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let mut names = HashSet::new();
    for line in order.lines() {
        // Paths are relative to the folder, or (in some releases) absolute; join takes both.
        let module = objects.join(line).with_extension("ko");
        let name = match module.file_name() {
            Some(name) => name.to_owned(),
            None => continue,
        };
        let content = fs::read(&module).with_context(|| format!("reading {}", module.display()))?;
        place::write(&dir.join(&name), content)?;
        names.insert(name);
    }
    if names.is_empty() {
        bail!("Kbuild built no module");
    }
    for entry in fs::read_dir(&dir)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(dir)
}

/// Where the modules for a kernel are compiled.
pub fn objects(project: &Project<'_>, kernel: &Kernel, how: How) -> PathBuf {
    project.places.lane(kernel.lane).join(how.folder())
}

/// Compiles our modules with Kbuild and gives the folder this was done in.
pub fn compile(project: &Project<'_>, kernel: &Kernel, how: How) -> Result<PathBuf> {
    let lane = kernel.lane;
    let objects = objects(project, kernel, how);
    refuse_foreign_objects(&project.places.repo)?;
    let step = project.progress.step(
        format!("modules for lane {} ({})", lane.name(), kernel.release),
        "compiling",
    );
    let log = project.places.log(lane, how.folder());
    let mut make = project.tools.command("make", &project.places.repo);
    make.arg(format!("-j{}", tool::jobs() + 1))
        .arg("-C")
        .arg(&kernel.objects);
    make.arg(format!("M={}", project.places.repo.display()));
    make.arg(format!("MO={}", objects.display()));
    make.args(lane.make_arguments());
    make.args(lane.module_arguments());
    make.arg("XEN_RUST_TESTS=1");
    if how == How::Clippy {
        make.args(["CLIPPY=1", "KRUSTFLAGS=-Dwarnings", "KCFLAGS=-Werror"]);
        make.env("CLIPPY_CONF_DIR", &kernel.source);
    }
    make.arg("modules");
    // A failure is shown from its first error on: with several jobs the last lines may be another
    // file's.
    let mut told = Vec::new();
    let ran = tool::watch(&mut make, &step, Some(&log), |line| {
        if !told.is_empty()
            || line.starts_with("error")
            || line.contains("error:")
            || line.starts_with("warning")
        {
            told.push(line.to_owned());
        }
    })?;
    if ran.success {
        step.done();
        if told.iter().any(|line| line.starts_with("warning")) {
            project
                .progress
                .note(&format!("there are warnings: {}", log.display()));
        }
        return Ok(objects);
    }
    if ran.says("No space left on device") {
        return Err(surroundings(DISK_FULL));
    }
    if told.is_empty() {
        told.extend(ran.tail);
    }
    told.truncate(5 * TAIL);
    bail!(
        "the modules do not compile for lane {}:\n{}\n(all of it: {})",
        lane.name(),
        told.join("\n"),
        log.display()
    )
}

/// Kbuild would take objects that lie beside the sources for this build's, whatever kernel they
/// were made for.
fn refuse_foreign_objects(repo: &Path) -> Result<()> {
    for folder in FOLDERS {
        if let Some(object) = find_object(&repo.join(folder))? {
            return Err(surroundings(format!(
                "{} is from a build in the clone itself: run `make clean` first",
                object.display()
            )));
        }
    }
    Ok(())
}

fn find_object(dir: &Path) -> Result<Option<PathBuf>> {
    if !dir.exists() {
        return Ok(None);
    }
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(object) = find_object(&path)? {
                return Ok(Some(object));
            }
        } else if path
            .extension()
            .map_or(false, |suffix| suffix == "o" || suffix == "rmeta")
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The kernel of a lane and our modules for it.
pub fn for_lane(project: &Project<'_>, lane: crate::lane::Lane) -> Result<(Kernel, PathBuf)> {
    let kernel = kernel::ensure(project, lane)?;
    let modules = build(project, &kernel)?;
    Ok((kernel, modules))
}
