// SPDX-License-Identifier: GPL-2.0

//! Our modules, built for a lane.
//!
//! Kbuild writes its objects beside the sources. To keep the clone clean and the lanes apart,
//! each lane has a folder of links to the sources and is built there.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::kernel::{self, Kernel};
use crate::place::{self, link};
use crate::project::Project;
use crate::tool::{self, TAIL};

/// Where the modules' sources are.
const FOLDERS: &[&str] = &["rust", "drivers", "tests/kunit"];

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
    let farm = compile(project, kernel, How::Build)?;
    let order = fs::read_to_string(farm.join("modules.order")).context("reading modules.order")?;
    let dir = project.places.lane(kernel.lane).join("modules");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let mut names = HashSet::new();
    for line in order.lines() {
        // Paths are relative to the folder, or (in some releases) absolute; join takes both.
        let module = farm.join(line).with_extension("ko");
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

/// Compiles our modules with Kbuild and gives the folder this was done in.
pub fn compile(project: &Project<'_>, kernel: &Kernel, how: How) -> Result<PathBuf> {
    let lane = kernel.lane;
    let farm = project.places.lane(lane).join(how.folder());
    mirror(&project.places.repo, &farm)?;
    let step = project.progress.step(
        format!("modules for lane {} ({})", lane.name(), kernel.release),
        "compiling",
    );
    let log = project.places.log(lane, how.folder());
    let mut make = project.tools.command("make", &farm);
    make.arg(format!("-j{}", tool::jobs() + 1));
    make.arg("-C")
        .arg(&kernel.objects)
        .arg(format!("M={}", farm.display()));
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
        return Ok(farm);
    }
    if ran.says("No space left on device") {
        return Err(crate::error::surroundings(crate::error::DISK_FULL));
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

/// Makes `farm` a tree of links to the modules' sources, and removes links to what has gone.
fn mirror(repo: &Path, farm: &Path) -> Result<()> {
    let mut wanted = HashSet::new();
    wanted.insert(PathBuf::from("Kbuild"));
    for folder in FOLDERS {
        sources(repo, Path::new(folder), &mut wanted)?;
    }
    for file in &wanted {
        link(&repo.join(file), &farm.join(file))?;
    }
    forget(farm, Path::new(""), &wanted)
}

/// Adds the source files below a folder.
fn sources(repo: &Path, folder: &Path, found: &mut HashSet<PathBuf>) -> Result<()> {
    let dir = repo.join(folder);
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            sources(repo, &path, found)?;
        } else if is_source(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

/// Whether a file is a source, as opposed to what a build in the clone itself left there.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.starts_with('.') || name.ends_with(".mod.c") {
        return false;
    }
    match path.extension() {
        Some(suffix) => ["rs", "c", "h", "S", "mk"]
            .iter()
            .any(|known| suffix == *known),
        // Kbuild, Makefile, lists of parameters.
        None => true,
    }
}

/// Removes the links below `farm` that are not wanted (any more).
fn forget(farm: &Path, folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(farm.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            forget(farm, &path, wanted)?;
        } else if kind.is_symlink() && !wanted.contains(&path) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The kernel of a lane and our modules for it.
pub fn for_lane(project: &Project<'_>, lane: crate::lane::Lane) -> Result<(Kernel, PathBuf)> {
    let kernel = kernel::ensure(project, lane)?;
    let modules = build(project, &kernel)?;
    Ok((kernel, modules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_products() {
        for source in [
            "drivers/xen/a/a.rs",
            "rust/xen/library.mk",
            "Kbuild",
            "rust/xen/helpers.c",
        ] {
            assert!(is_source(Path::new(source)), "{source}");
        }
        for product in [
            "a.o",
            "a.ko",
            "a.mod.c",
            ".a.o.cmd",
            "a.rmeta",
            "a.mod",
            "modules.order",
        ] {
            assert!(!is_source(Path::new(product)), "{product}");
        }
    }
}
