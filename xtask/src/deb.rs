// SPDX-License-Identifier: GPL-2.0

//! `make deb`: the plain tarball, the Debian source package, the package, and lintian's word on them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::place;
use crate::project::{native, Project};
use crate::root;
use crate::step::Step;
use crate::tool::{self, Tools};

/// What building packages takes beyond what every build root has.
pub const PACKAGES: &[&str] = &[
    "debhelper",
    "dh-dkms",
    "librust-anyhow-dev",
    "librust-clap-dev",
    "librust-serde-dev",
    "librust-serde-json-dev",
    "librust-tempfile-dev",
];

/// The source package's name, and the package's.
const SOURCE: &str = "xen-rust";
pub const PACKAGE: &str = "xen-rust-dkms";

/// What a release is made of besides Debian's own part.
const DEBIAN: &str = "debian";

/// Where versions are written down: the file, what is before the version there, and what is after.
const VERSIONS: &[(&str, &str, &str)] = &[
    ("dkms.conf", "\nPACKAGE_VERSION=\"", "\""),
    ("debian/changelog", "xen-rust (", "-"),
    ("tools/xen-rust-status/Cargo.toml", "\nversion = \"", "\""),
    ("CHANGELOG.md", "\n## ", "\n"),
];

/// Builds all of it and asks lintian; gives the package.
pub fn build(project: &Project<'_>) -> Result<PathBuf> {
    if !native() {
        root::add(project.progress, &project.tools, PACKAGES)?;
        root::add(project.progress, &project.tools, &["lintian"])?;
    }
    let out = project.places.build().join("deb");
    let package = build_by(project, &project.tools, &out)?;
    let changes = find(&out, ".changes")?;
    let step = project.progress.step("lintian", "reading the packages");
    lint(project, &out, &changes, &step)?;
    step.done();
    Ok(package)
}

/// Builds all of it in a new folder, by the tools of a release that has [`PACKAGES`]; gives the package.
pub fn build_by(project: &Project<'_>, tools: &Tools, out: &Path) -> Result<PathBuf> {
    let version = version(&project.places.repo)?;
    place::remove_dir(out)?;
    let tree = out.join(format!("{SOURCE}-{version}"));

    let step = project
        .progress
        .step("source package", "collecting what git knows of");
    let time = collect(project, &tree)?;
    // Debian's part is not in the tarball, which is everybody's.
    let tarball = format!("{SOURCE}_{version}.orig.tar.xz");
    let mut tar = tools.command("tar", out);
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{time}"));
    tar.arg(format!("--exclude={SOURCE}-{version}/{DEBIAN}"));
    tar.args(["-cJf", &tarball, &format!("{SOURCE}-{version}")]);
    tool::run(&mut tar, &step, None)?;
    step.done();

    let step = project
        .progress
        .step(format!("{PACKAGE} {version}"), "building it");
    let mut build = tools.command("dpkg-buildpackage", &tree);
    build.env("SOURCE_DATE_EPOCH", &time).args([
        "--build=full",
        "--unsigned-source",
        "--unsigned-changes",
    ]);
    tool::run(&mut build, &step, Some(&out.join("build.log")))?;
    step.done();
    find(out, ".deb")
}

/// The same package under another upstream version, as the next release would have it.
pub fn with_version(
    project: &Project<'_>,
    package: &Path,
    version: &str,
    other: &str,
) -> Result<PathBuf> {
    let out = project.places.build().join("deb");
    let step = project
        .progress
        .step(format!("{PACKAGE} {other}"), "packing it anew");
    let tree = out.join("other");
    place::remove_dir(&tree)?;
    tool::run(
        project
            .tools
            .command("dpkg-deb", &out)
            .arg("--raw-extract")
            .args([package, &tree]),
        &step,
        None,
    )?;
    let sources = |version: &str| tree.join(format!("usr/src/{SOURCE}-{version}"));
    fs::rename(sources(version), sources(other)).context("renaming its sources")?;
    // What refers to them: the package's scripts and what is said of it.
    let mut files = vec![sources(other).join("dkms.conf")];
    for entry in fs::read_dir(tree.join("DEBIAN")).context("reading what is said of it")? {
        files.push(entry?.path());
    }
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // In place: they stay executable.
        fs::write(&file, text.replace(version, other))
            .with_context(|| format!("writing {}", file.display()))?;
    }
    let file = out.join(format!("{PACKAGE}_{other}-1_amd64.deb"));
    tool::run(
        project
            .tools
            .command("dpkg-deb", &out)
            .args(["--root-owner-group", "--build"])
            .args([&tree, &file]),
        &step,
        None,
    )?;
    place::remove_dir(&tree)?;
    step.done();
    Ok(file)
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
        .args(["--allow-root", "--tag-display-limit", "0", "--info"])
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
