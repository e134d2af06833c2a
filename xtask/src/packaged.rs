// SPDX-License-Identifier: GPL-2.0

//! Kernels as the Debian archive has them: an image, headers and source of one version.

use anyhow::Result;

use crate::archive::{self, Archive};
use crate::error;
use crate::version;

const IMAGE: &str = "linux-image-";
const HEADERS: &str = "linux-headers-";
/// What images that have not been signed yet are called, and what comes with them.
const UNSIGNED: [&str; 2] = ["linux-binary-unsigned-", "linux-modules-"];

/// A kernel of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packaged {
    /// What `uname -r` says.
    pub release: String,
    /// The version of its packages.
    pub version: String,
    signed: bool,
}

impl Packaged {
    /// The kernel of this name, if it has all that modules for it are built from.
    pub fn of(archive: &Archive<'_>, release: &str) -> Result<Self> {
        let versions = archive.versions(&format!("{HEADERS}{release}"), None)?;
        for version in &versions {
            let signed = archive
                .versions(&format!("{IMAGE}{release}"), None)?
                .contains(version);
            let kernel = Self {
                release: release.to_owned(),
                version: version.clone(),
                signed,
            };
            if archive.versions(&kernel.source(), None)?.contains(version) {
                return Ok(kernel);
            }
        }
        Err(error::surroundings(format!(
            "the Debian archive has no Linux {release} with headers and source (any more)"
        )))
    }

    /// A kernel that has been installed.
    pub fn installed(release: String, version: String) -> Self {
        Self {
            release,
            version,
            signed: true,
        }
    }

    /// The newest two of one series that the archive has.
    pub fn newest(archive: &Archive<'_>) -> Result<(Self, Self)> {
        let suite = archive::backports();
        let mut found = Vec::new();
        for name in archive.names(&format!("{IMAGE}7."))? {
            let release = &name[IMAGE.len()..];
            if !is_plain(release) || archive.versions(&name, Some(&suite))?.is_empty() {
                continue;
            }
            // Old images stay in the archive without the rest.
            if let Ok(kernel) = Self::of(archive, release) {
                found.push(kernel);
            }
        }
        found.sort_by(|a, b| version::compare(&a.version, &b.version));
        let new = found.pop();
        let old = found.pop();
        match (old, new) {
            (Some(old), Some(new)) => Ok((old, new)),
            _ => Err(error::surroundings(format!(
                "the Debian archive has no two kernels of Linux 7 in {suite} with headers and source"
            ))),
        }
    }

    /// The packages that it is installed by.
    pub fn packages(&self) -> Vec<String> {
        if self.signed {
            return vec![format!("{IMAGE}{}", self.release)];
        }
        UNSIGNED
            .iter()
            .map(|prefix| format!("{prefix}{}", self.release))
            .collect()
    }

    /// Whether these do all that installing a kernel is.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    pub fn headers(&self) -> String {
        format!("{HEADERS}{}", self.release)
    }

    /// The package of its source, whatever version.
    pub fn source(&self) -> String {
        let series = version::series(&self.version).unwrap_or_default();
        format!("linux-source-{series}")
    }

    /// The package of its very source.
    pub fn own_source(&self) -> String {
        format!("{}={}", self.source(), self.version)
    }

    pub fn image_file(&self) -> String {
        format!("boot/vmlinuz-{}", self.release)
    }

    pub fn initramfs_file(&self) -> String {
        format!("boot/initrd.img-{}", self.release)
    }
}

/// The newest kernel of Linux 6 that the archive has headers of.
pub fn older_release(archive: &Archive<'_>) -> Result<String> {
    let mut newest: Option<(String, String)> = None;
    for name in archive.names(&format!("{HEADERS}6."))? {
        let release = &name[HEADERS.len()..];
        if !is_plain(release) {
            continue;
        }
        for version in archive.versions(&name, None)? {
            let newer = newest
                .as_ref()
                .map_or(true, |(known, _)| version::compare(known, &version).is_lt());
            if newer {
                newest = Some((version, release.to_owned()));
            }
        }
    }
    newest
        .map(|(_, release)| release)
        .ok_or_else(|| error::surroundings("the Debian archive has no headers of Linux 6"))
}

/// Neither for real time nor for clouds nor what is for debugging.
fn is_plain(release: &str) -> bool {
    release.ends_with("-amd64") && release.matches('-').count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_named_after_the_kernel() {
        let mut kernel = Packaged {
            release: "7.2.6+deb13-amd64".to_owned(),
            version: "7.2.6-1~bpo13+1".to_owned(),
            signed: true,
        };
        assert_eq!(kernel.packages(), ["linux-image-7.2.6+deb13-amd64"]);
        assert_eq!(kernel.own_source(), "linux-source-7.2=7.2.6-1~bpo13+1");
        kernel.signed = false;
        assert_eq!(
            kernel.packages(),
            [
                "linux-binary-unsigned-7.2.6+deb13-amd64",
                "linux-modules-7.2.6+deb13-amd64"
            ]
        );
    }

    #[test]
    fn a_plain_kernel_is_no_other_flavour() {
        assert!(is_plain("7.2.6+deb13-amd64"));
        assert!(!is_plain("7.2.6+deb13-rt-amd64"));
        assert!(!is_plain("7.2.6+deb13-amd64-dbg"));
    }
}
