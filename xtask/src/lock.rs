// SPDX-License-Identifier: GPL-2.0

//! One builder at a time in a cache, of a kernel, and in a clone.

use std::fs::{self, File, OpenOptions};
use std::os::unix::io::AsRawFd;
use std::path::Path;

use anyhow::{Context, Result};
use nix::fcntl::{flock, FlockArg};

use crate::step::Progress;

/// A lock that is held until dropped. The kernel lets go of it when the process ends, so a killed
/// run leaves no stale lock.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a cache.
    pub fn of_cache(progress: &Progress, cache: &Path) -> Result<Self> {
        Self::take(progress, cache, "cache.lock")
    }

    /// Takes the lock of a kernel in the cache. It takes minutes to compile one: who needs another one
    /// that is there does not wait for that.
    pub fn of_kernel(progress: &Progress, kernel: &Path) -> Result<Self> {
        Self::take(progress, kernel, "kernel.lock")
    }

    /// Takes the lock of a clone's build folder.
    pub fn of_build(progress: &Progress, build: &Path) -> Result<Self> {
        Self::take(progress, build, "build.lock")
    }

    /// Takes a lock, waiting for another run that holds it.
    fn take(progress: &Progress, dir: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let path = dir.join(name);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        if flock(file.as_raw_fd(), FlockArg::LockExclusiveNonblock).is_err() {
            let step = progress.step(
                format!("lock of {}", dir.display()),
                "waiting for another run that is building there",
            );
            flock(file.as_raw_fd(), FlockArg::LockExclusive)
                .with_context(|| format!("locking {}", path.display()))?;
            step.done();
        }
        Ok(Self { _file: file })
    }
}
