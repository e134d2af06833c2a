// SPDX-License-Identifier: GPL-2.0

//! The Debian archive: which versions it has, and downloads from it.
//!
//! The host's apt is used with a state of its own in the cache, so that it neither needs nor
//! touches the host's package lists, but honours the host's mirror, proxy and keys.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::disk;
use crate::error::{surroundings, DISK_FULL};
use crate::place::{self, temporary};
use crate::root;
use crate::step::Progress;
use crate::tool::{self, Ran};

/// The release whose tools and hypervisor we use.
pub const SUITE: &str = "trixie";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Package lists older than this are fetched anew.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Megabytes the lists take, with apt's index of them. (On a full disk apt may wait for ever.)
const LISTS_SIZE: u64 = 300;

/// The archive as seen through apt.
pub struct Archive<'a> {
    progress: &'a Progress,
    dir: PathBuf,
    sources: Vec<String>,
}

impl<'a> Archive<'a> {
    /// Opens the archive; its lists are in `dir`, fetched if they are missing or old.
    pub fn open(progress: &'a Progress, dir: PathBuf) -> Result<Self> {
        let sources = sources(progress)?;
        for folder in ["state/lists/partial", "cache/archives/partial", "debs"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        }
        place::write(&dir.join("status"), "")?;
        place::write(&dir.join("sources.list"), sources.join("\n") + "\n")?;
        let archive = Self {
            progress,
            dir,
            sources,
        };
        if !archive.is_fresh() {
            archive.update()?;
        }
        Ok(archive)
    }

    /// The archive's apt source lines.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The apt source line of another release, from the same mirror.
    pub fn source_of(&self, suite: &str) -> Option<String> {
        source_of(self.sources.first()?, suite)
    }

    fn marker(&self) -> PathBuf {
        self.dir.join("state/updated")
    }

    fn is_fresh(&self) -> bool {
        let same_sources = fs::read_to_string(self.marker())
            .map_or(false, |sources| sources == self.sources.join("\n"));
        let age = fs::metadata(self.marker())
            .and_then(|data| data.modified())
            .map(|time| time.elapsed().unwrap_or_default());
        same_sources && age.map_or(false, |age| age < FRESH)
    }

    /// Fetches the package lists. Old lists will do when there is no network.
    fn update(&self) -> Result<()> {
        disk::needs(&self.dir, LISTS_SIZE)?;
        let step = self
            .progress
            .step("package lists", "fetching them from the Debian archive");
        let mut update = self.apt("apt-get");
        update.args(["-o", "APT::Update::Error-Mode=any", "update"]);
        let ran = tool::watch(&mut update, &step, None, |_| {})?;
        if ran.success {
            place::write(&self.marker(), self.sources.join("\n"))?;
            step.done();
            return Ok(());
        }
        let error = explain(&ran, "the package lists");
        if self.marker().exists() {
            drop(step);
            self.progress.note(&format!(
                "{error}; going on with the lists of an earlier run"
            ));
            return Ok(());
        }
        Err(error)
    }

    fn apt(&self, program: &str) -> Command {
        self.apt_in(program, &self.dir)
    }

    fn apt_in(&self, program: &str, dir: &Path) -> Command {
        let mut apt = tool::host(program, dir);
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={dir}/state"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            apt.arg("-o").arg(option);
        }
        apt
    }

    /// The packages whose name starts with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = tool::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// The versions of a package, in `suite` only where one is given.
    pub fn versions(&self, package: &str, suite: Option<&str>) -> Result<Vec<String>> {
        let table = tool::output(self.apt("apt-cache").args(["madison", package]))?;
        Ok(madison(&table, suite))
    }

    /// The packages a package of a given version depends on with the very same version.
    pub fn companions(&self, package: &str, version: &str) -> Result<Vec<String>> {
        let record = self.show(package, version)?;
        Ok(companions(&record, version))
    }

    fn show(&self, package: &str, version: &str) -> Result<String> {
        let wanted = format!("{package}={version}");
        tool::output(self.apt("apt-cache").args(["show", &wanted]))
    }

    /// Downloads a package, unless that has been done.
    pub fn download(&self, package: &str, version: &str) -> Result<PathBuf> {
        let file = self
            .dir
            .join("debs")
            .join(format!("{package}_{}.deb", plain(version)));
        if file.exists() {
            return Ok(file);
        }
        let record = self
            .show(package, version)
            .map_err(|_| gone(package, version))?;
        let size = field(&record, "Size").and_then(|size| size.parse::<u64>().ok());
        let megabytes = size.unwrap_or_default() / 1_000_000;
        let step = self.progress.step(
            format!("{package} {version}"),
            &format!("downloading {megabytes} MB from the Debian archive"),
        );
        let dir = temporary(&file);
        place::remove_dir(&dir)?;
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let mut download = self.apt_in("apt-get", &dir);
        download.arg("download").arg(format!("{package}={version}"));
        let ran = tool::watch(&mut download, &step, None, |_| {})?;
        if !ran.success {
            return Err(explain(&ran, &format!("{package} {version}")));
        }
        let whole = fs::read_dir(&dir)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().map_or(false, |e| e == "deb"));
        match whole {
            Some(whole) => fs::rename(whole, &file)?,
            None => bail!("apt-get downloaded no file for {package}"),
        }
        place::remove_dir(&dir)?;
        step.done();
        Ok(file)
    }
}

/// A version as part of a file's name: Kbuild and make have a meaning for `~` and `:`.
pub fn plain(version: &str) -> String {
    version.replace(
        |c: char| !(c.is_ascii_alphanumeric() || ".+-".contains(c)),
        "_",
    )
}

/// What to say about a version that is not there (any more).
pub fn gone(package: &str, version: &str) -> anyhow::Error {
    surroundings(format!(
        "the Debian archive does not have {package} {version} (any more): \
         remove the cache's archive folder to look for newer versions, or name another mirror \
         in XEN_RUST_MIRROR"
    ))
}

/// Turns apt's (or mmdebstrap's) last words into one line that says what to do.
pub fn explain(ran: &Ran, what: &str) -> anyhow::Error {
    if ran.says("No space left on device") || ran.says("don't have enough free space") {
        return surroundings(DISK_FULL);
    }
    let network = [
        "Could not resolve",
        "Temporary failure resolving",
        "Could not connect",
        "Connection failed",
        "Connection timed out",
        "Network is unreachable",
        "Unable to connect",
    ];
    if network.iter().any(|text| ran.says(text)) {
        return surroundings(format!(
            "cannot fetch {what}: no connection to the Debian archive; \
             check the network (or apt's proxy) and run this again"
        ));
    }
    if ran.says("404") {
        return surroundings(format!(
            "cannot fetch {what}: the Debian archive no longer has it; \
             remove the cache's archive folder to look for newer versions"
        ));
    }
    let reason = ran
        .tail
        .iter()
        .find(|line| line.starts_with("E:"))
        .or_else(|| ran.tail.back())
        .map_or("no reason given", String::as_str);
    surroundings(format!("cannot fetch {what}: {reason}"))
}

/// The apt source lines of the release, from the mirrors this host uses.
fn sources(progress: &Progress) -> Result<Vec<String>> {
    let mut known = Vec::new();
    let targets = host_targets(progress)?;
    for line in targets.lines() {
        if let Some((uri, release)) = line.split_once(' ') {
            known.push((uri, release));
        }
    }
    let codename = codename().unwrap_or_default();
    let names = [codename.as_str(), SUITE, "stable", "oldstable", "testing"];
    let mirror = |variable: &str, suffix: &str| -> Result<String> {
        if let Some(uri) = env::var_os(variable).filter(|uri| !uri.is_empty()) {
            return Ok(uri.to_string_lossy().into_owned());
        }
        let found = names.iter().find_map(|name| {
            let wanted = format!("{name}{suffix}");
            known.iter().find(|(_, release)| *release == wanted)
        });
        match found {
            Some((uri, _)) => Ok((*uri).to_owned()),
            None => Err(surroundings(format!(
                "apt on this host has no source for Debian{suffix}: name a mirror in {variable}"
            ))),
        }
    };
    let main = mirror("XEN_RUST_MIRROR", "")?;
    let security = mirror("XEN_RUST_SECURITY_MIRROR", "-security")?;
    let options = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    Ok([
        (&main, SUITE.to_owned()),
        (&main, backports()),
        (&security, format!("{SUITE}-security")),
    ]
    .iter()
    .map(|(uri, suite)| format!("deb {options}{uri} {suite} main"))
    .collect())
}

/// A source line of [`SUITE`] as one of another release.
///
/// The lists of a release in the making are signed for a week. A mirror that stays at one state for
/// longer is as good to try a package with.
fn source_of(line: &str, suite: &str) -> Option<String> {
    let mirror = line.strip_suffix(" main")?.strip_suffix(SUITE)?;
    let mirror = mirror.strip_prefix("deb ")?;
    let mirror = match mirror.strip_prefix('[') {
        Some(options) => format!(" {options}"),
        None => format!("] {mirror}"),
    };
    Some(format!("deb [check-valid-until=no{mirror}{suite} main"))
}

/// What apt on this host fetches lists from: an address and a release a line.
fn host_targets(progress: &Progress) -> Result<String> {
    let ask = || {
        tool::output(tool::host("apt-get", Path::new("/")).args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE)",
        ]))
        .map_err(|_| surroundings("apt-get is missing: this needs a Debian 12 or 13 host"))
    };
    let targets = ask()?;
    if !targets.trim().is_empty() || !root::is_real_root() {
        return Ok(targets);
    }
    // It tells only of lists that it has, and an image of a fresh machine may have none.
    let step = progress.step("package lists of this host", "fetching them by apt-get");
    let mut update = tool::host("apt-get", Path::new("/"));
    let ran = tool::watch(update.arg("update"), &step, None, |_| {})?;
    if !ran.success {
        return Err(explain(&ran, "the package lists of this host"));
    }
    step.done();
    ask()
}

/// The suite the kernels come from.
pub fn backports() -> String {
    format!("{SUITE}-backports")
}

fn codename() -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let line = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// The versions in a table of `apt-cache madison`.
fn madison(table: &str, suite: Option<&str>) -> Vec<String> {
    let mut versions = Vec::new();
    for line in table.lines() {
        let mut columns = line.split('|').map(str::trim);
        let (version, source) = match (columns.nth(1), columns.next()) {
            (Some(version), Some(source)) => (version, source),
            _ => continue,
        };
        // "<mirror> <suite>/<component> <architecture> Packages"
        let found = source
            .split_whitespace()
            .nth(1)
            .and_then(|s| s.split('/').next());
        let wanted = suite.map_or(true, |suite| found == Some(suite));
        if wanted && !versions.iter().any(|known| known == version) {
            versions.push(version.to_owned());
        }
    }
    versions
}

/// A field of a package's record.
fn field<'r>(record: &'r str, name: &str) -> Option<&'r str> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn companions(record: &str, version: &str) -> Vec<String> {
    let same = format!("(= {version})");
    field(record, "Depends")
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|dependency| dependency.ends_with(&same))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
linux-source-7.2 | 7.2.12-1~bpo13+1 | mirror trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.10-1~bpo13+1 | mirror trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.12-1~bpo13+1 | other trixie-backports/main amd64 Packages
linux-source-7.2 | 6.12.1-1 | mirror trixie/main amd64 Packages
";

    #[test]
    fn another_release_is_of_the_same_mirror() {
        let plain = source_of("deb http://mirror/debian/ trixie main", "sid");
        assert_eq!(
            plain.as_deref(),
            Some("deb [check-valid-until=no] http://mirror/debian/ sid main")
        );
        let signed = source_of(
            "deb [signed-by=/key] http://mirror/debian/ trixie main",
            "sid",
        );
        assert_eq!(
            signed.as_deref(),
            Some("deb [check-valid-until=no signed-by=/key] http://mirror/debian/ sid main")
        );
    }

    #[test]
    fn versions_of_one_suite() {
        assert_eq!(
            madison(TABLE, Some("trixie-backports")),
            ["7.2.12-1~bpo13+1", "7.2.10-1~bpo13+1"]
        );
        assert_eq!(madison(TABLE, None).len(), 3);
        assert!(madison("", None).is_empty());
    }

    #[test]
    fn companions_have_the_same_version() {
        let record = "Package: image\nDepends: dracut | initramfs-tools (>= 0.120), \
                      base (= 7.2-1), modules (= 7.2-1), other (= 7.1-1)\nSize: 12\n";
        assert_eq!(companions(record, "7.2-1"), ["base", "modules"]);
        assert_eq!(field(record, "Size"), Some("12"));
        assert_eq!(field(record, "Siz"), None);
    }

    #[test]
    fn a_version_becomes_a_file_name() {
        assert_eq!(plain("1:7.2.12-1~bpo13+1"), "1_7.2.12-1_bpo13+1");
    }
}
