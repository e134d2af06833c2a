// SPDX-License-Identifier: GPL-2.0

//! Room on the disk, asked before a big step rather than found out in the middle of it.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;

use crate::error::surroundings;

/// Fails if the file system of `path` has less than this many megabytes left.
pub fn needs(path: &Path, megabytes: u64) -> Result<()> {
    let stat = statvfs(path).with_context(|| format!("asking for room at {}", path.display()))?;
    let free = stat.blocks_available() as u64 * stat.fragment_size() as u64 / 1_000_000;
    if free < megabytes {
        return Err(surroundings(format!(
            "{} has {free} MB left and this step needs {megabytes} MB: \
             free some space, or set XEN_RUST_CACHE to a folder on a larger disk",
            path.display()
        )));
    }
    Ok(())
}
