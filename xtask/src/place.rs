// SPDX-License-Identifier: GPL-2.0

//! Where things are: the repository, its build folder, the cache.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::lane::Lane;

/// The folders everything else is relative to.
pub struct Places {
    /// The repository.
    pub repo: PathBuf,
    /// What is downloaded or built once for any clone: archive, build root, kernels.
    pub cache: PathBuf,
}

impl Places {
    /// Finds the repository around the current folder, and the cache from the environment.
    pub fn find() -> Result<Self> {
        let here = env::current_dir().context("finding the current folder")?;
        let repo = match here
            .ancestors()
            .find(|dir| dir.join("xtask/Cargo.toml").exists())
        {
            Some(repo) => repo.to_owned(),
            None => bail!("{} is not inside the repository", here.display()),
        };
        let cache = match env::var_os("XEN_RUST_CACHE") {
            Some(cache) if !cache.is_empty() => here.join(cache),
            _ => repo.join("build/cache"),
        };
        let forbidden = |c: char| c == ':' || c.is_whitespace();
        for path in [&repo, &cache] {
            if path.to_string_lossy().contains(forbidden) {
                bail!(
                    "{}: Kbuild cannot work below a path with a space or a colon",
                    path.display()
                );
            }
        }
        fs::create_dir_all(&cache).with_context(|| format!("making {}", cache.display()))?;
        // Real paths, so that a path in the cache can be told from one in the repository.
        Ok(Self {
            repo: repo.canonicalize()?,
            cache: cache.canonicalize()?,
        })
    }

    /// What belongs to this clone.
    pub fn build(&self) -> PathBuf {
        self.repo.join("build")
    }

    /// What belongs to a lane of this clone.
    pub fn lane(&self, lane: Lane) -> PathBuf {
        self.build().join(lane.name())
    }

    /// The log of a step of a lane.
    pub fn log(&self, lane: Lane, step: &str) -> PathBuf {
        self.lane(lane).join("logs").join(format!("{step}.log"))
    }
}

/// Makes `link` a symbolic link to `target`, replacing what link was there in one go.
pub fn link(target: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).map_or(false, |old| old == target) {
        return Ok(());
    }
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    let fresh = temporary(link);
    ignore_missing(fs::remove_file(&fresh))?;
    std::os::unix::fs::symlink(target, &fresh)
        .and_then(|()| fs::rename(&fresh, link))
        .with_context(|| format!("linking {} to {}", link.display(), target.display()))
}

/// The name something has while it is being made.
pub fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

/// Takes "there was nothing to remove" for success.
pub fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a folder with all it holds, if it is there.
pub fn remove_dir(dir: &Path) -> Result<()> {
    ignore_missing(fs::remove_dir_all(dir)).with_context(|| format!("removing {}", dir.display()))
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let fresh = temporary(path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    fs::write(&fresh, content)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("writing {}", path.display()))
}
