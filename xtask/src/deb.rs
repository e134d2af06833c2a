// SPDX-License-Identifier: GPL-2.0

//! `make deb`: the plain tarball, the Debian source package, the package, and lintian's word on them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::place;
use crate::project::{native, Project};
use crate::root;
use crate::step::Step;
use crate::tool;

/// What building packages takes beyond what every build root has.
const PACKAGES: &[&str] = &[
    "debhelper",
    "dh-dkms",
    "librust-anyhow-dev",
    "librust-clap-dev",
    "librust-serde-dev",
    "librust-serde-json-dev",
    "librust-tempfile-dev",
    "lintian",
];

/// The source package's name, and the package's.
const SOURCE: &str = "xen-rust";
const PACKAGE: &str = "xen-rust-dkms";

/// What a release is made of besides Debian's own part.
const DEBIAN: &str = "debian";

/// Where versions are written down: the file, what is before the version there, and what is after.
const VERSIONS: &[(&str, &str, &str)] = &[
    ("dkms.conf", "\nPACKAGE_VERSION=\"", "\""),
    ("debian/changelog", "xen-rust (", "-"),
    ("tools/xen-rust-status/Cargo.toml", "\nversion = \"", "\""),
    ("CHANGELOG.md", "\n## ", "\n"),
];

/// Builds all of it; gives the package.
pub fn build(project: &Project<'_>) -> Result<PathBuf> {
    let version = version(&project.places.repo)?;
    if !native() {
        root::add(project.progress, &project.tools, PACKAGES)?;
    }
    let out = project.places.build().join("deb");
    place::remove_dir(&out)?;
    let tree = out.join(format!("{SOURCE}-{version}"));

    let step = project
        .progress
        .step("source package", "collecting what git knows of");
    let time = collect(project, &tree)?;
    // Debian's part is not in the tarball, which is everybody's.
    let tarball = format!("{SOURCE}_{version}.orig.tar.xz");
    let mut tar = project.tools.command("tar", &out);
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{time}"));
    tar.arg(format!("--exclude={SOURCE}-{version}/{DEBIAN}"));
    tar.args(["-cJf", &tarball, &format!("{SOURCE}-{version}")]);
    tool::run(&mut tar, &step, None)?;
    step.done();

    let step = project
        .progress
        .step(format!("{PACKAGE} {version}"), "building it");
    let mut build = project.tools.command("dpkg-buildpackage", &tree);
    build.env("SOURCE_DATE_EPOCH", &time).args([
        "--build=full",
        "--unsigned-source",
        "--unsigned-changes",
    ]);
    tool::run(&mut build, &step, Some(&out.join("build.log")))?;
    step.done();

    let made = |suffix: &str| find(&out, suffix);
    let step = project.progress.step("lintian", "reading the packages");
    lint(project, &out, &made(".changes")?, &step)?;
    step.done();
    made(".deb")
}

/// The version, which has to be the same wherever it is.
fn version(repo: &Path) -> Result<String> {
    let mut found: Option<(String, &str)> = None;
    for (file, before, after) in VERSIONS {
        let text =
            fs::read_to_string(repo.join(file)).with_context(|| format!("reading {file}"))?;
        let version = match between(&text, before, after) {
            Some(version) => version.to_owned(),
            None => bail!("{file} has no version"),
        };
        match &found {
            Some((known, elsewhere)) if *known != version => {
                bail!("{file} is of version {version}, and {elsewhere} of {known}")
            }
            Some(_) => {}
            None => found = Some((version, file)),
        }
    }
    found.map(|(version, _)| version).context("no versions")
}

/// The first text between two others.
fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0)
}

/// Copies what git knows of, as it is now, into a new folder. Gives the time of the last commit.
fn collect(project: &Project<'_>, tree: &Path) -> Result<String> {
    let repo = &project.places.repo;
    // The clone may be another user's than the one we run as.
    let git = || {
        let mut git = tool::host("git", repo);
        git.args(["-c", "safe.directory=*"]);
        git
    };
    let files = tool::output(git().args(["ls-files", "-z"]))?;
    for file in files.split('\0').filter(|file| !file.is_empty()) {
        let from = repo.join(file);
        // Removed, and not yet committed.
        if !from.exists() || file.starts_with('.') {
            continue;
        }
        let to = tree.join(file);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::copy(&from, &to).with_context(|| format!("copying {file}"))?;
    }
    let time = tool::output(git().args(["log", "-1", "--format=%ct"]))?;
    Ok(time.trim().to_owned())
}

/// The one file of a folder that ends so and is no debugging package.
fn find(folder: &Path, suffix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(suffix) && !name.contains("dbgsym") {
            return Ok(folder.join(name));
        }
    }
    bail!("{} has no {suffix}", folder.display())
}

/// Asks lintian, which has to have nothing to say.
fn lint(project: &Project<'_>, out: &Path, changes: &Path, step: &Step) -> Result<()> {
    let mut lintian = project.tools.command("lintian", out);
    lintian
        .args(["--allow-root", "--no-tag-display-limit", "--info"])
        .args(["--display-info", "--pedantic"])
        .args(["--fail-on", "error,warning,info,pedantic"])
        .arg(changes);
    tool::run(&mut lintian, step, Some(&out.join("lintian.log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_between_its_marks() {
        let text = "a (1.2-3) b\nversion = \"4\"\n";
        assert_eq!(between(text, "a (", "-"), Some("1.2"));
        assert_eq!(between(text, "\nversion = \"", "\""), Some("4"));
        assert_eq!(between(text, "c", "d"), None);
    }

    #[test]
    fn this_tree_is_of_one_version() {
        version(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    }
}
