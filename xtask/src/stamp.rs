// SPDX-License-Identifier: GPL-2.0

//! Stamps: how a finished product is told from a half-made or an outdated one.
//!
//! A product's stamp is a hash of all it was made from, written last. A folder is made under a
//! temporary name and renamed when it is whole.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::place::{self, temporary};

const FILE: &str = ".xen-rust-stamp";

/// A hash of inputs. It tells versions of our own inputs apart; it is no protection against
/// someone who wants two to collide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(String);

impl Stamp {
    /// The stamp of some inputs, FNV-1a over each with its length.
    pub fn of(inputs: &[&str]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for input in inputs {
            eat(&(input.len() as u64).to_le_bytes());
            eat(input.as_bytes());
        }
        Self(format!("{hash:016x}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a folder is whole and was made from these inputs.
    pub fn is_on(&self, dir: &Path) -> bool {
        fs::read_to_string(dir.join(FILE)).map_or(false, |found| found == self.0)
    }

    /// Marks a folder as whole.
    pub fn put_on(&self, dir: &Path) -> Result<()> {
        place::write(&dir.join(FILE), &self.0)
    }

    /// Makes sure that a folder is whole and made from these inputs. `make` fills a new folder
    /// that takes the place of an old one only when it is finished.
    pub fn ensure(&self, dir: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if self.is_on(dir) {
            return Ok(());
        }
        let fresh = temporary(dir);
        place::remove_dir(&fresh)?;
        fs::create_dir_all(&fresh).with_context(|| format!("making {}", fresh.display()))?;
        make(&fresh)?;
        self.put_on(&fresh)?;
        place::remove_dir(dir)?;
        fs::rename(&fresh, dir).with_context(|| format!("renaming to {}", dir.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("xtask-stamp-{}-{name}", std::process::id()));
        place::remove_dir(&dir).unwrap();
        dir
    }

    #[test]
    fn inputs_are_told_apart() {
        assert_ne!(Stamp::of(&["ab", "c"]), Stamp::of(&["a", "bc"]));
        assert_eq!(Stamp::of(&["ab", "c"]), Stamp::of(&["ab", "c"]));
    }

    #[test]
    fn a_failed_making_is_not_taken_for_whole() {
        let dir = scratch("failed");
        let stamp = Stamp::of(&["1"]);
        let failed = stamp.ensure(&dir, |fresh| {
            fs::write(fresh.join("half"), "")?;
            anyhow::bail!("stopped")
        });
        assert!(failed.is_err());
        assert!(!dir.exists());
        stamp
            .ensure(&dir, |fresh| Ok(fs::write(fresh.join("whole"), "")?))
            .unwrap();
        assert!(stamp.is_on(&dir) && dir.join("whole").exists() && !dir.join("half").exists());
        place::remove_dir(&dir).unwrap();
    }

    #[test]
    fn made_once_for_the_same_inputs() {
        let dir = scratch("once");
        let mut made = 0;
        for input in ["1", "1", "2"] {
            Stamp::of(&[input])
                .ensure(&dir, |_| {
                    made += 1;
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(made, 2);
        place::remove_dir(&dir).unwrap();
    }
}
