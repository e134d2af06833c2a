// SPDX-License-Identifier: GPL-2.0

//! Errors of the surroundings, as opposed to errors of the code under test.

use std::fmt;

use nix::libc;

/// The exit status that says: nothing is wrong with the project, the machine or the network
/// lacks something.
pub const EXIT_SURROUNDINGS: u8 = 2;

/// Something this machine, its network or the archive lacks. The text is one line that says what
/// is missing and what to do about it.
#[derive(Debug)]
pub struct Surroundings(String);

impl fmt::Display for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Surroundings {}

/// Makes an error that ends the program with [`EXIT_SURROUNDINGS`] and one line.
pub fn surroundings(text: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Surroundings(text.into()))
}

/// What the user is told when a disk is full, wherever that was noticed.
pub const DISK_FULL: &str =
    "the disk is full: free some space, or set XEN_RUST_CACHE to a folder on a larger disk";

/// The line and exit status for an error that reached the top.
pub fn report(error: &anyhow::Error) -> (String, u8) {
    if let Some(own) = error.downcast_ref::<Surroundings>() {
        return (own.to_string(), EXIT_SURROUNDINGS);
    }
    for cause in error.chain() {
        if let Some(own) = cause.downcast_ref::<Surroundings>() {
            return (own.to_string(), EXIT_SURROUNDINGS);
        }
        let errno = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::raw_os_error)
            .or_else(|| cause.downcast_ref::<nix::Error>().map(|e| *e as i32));
        if errno == Some(libc::ENOSPC) {
            return (DISK_FULL.to_owned(), EXIT_SURROUNDINGS);
        }
    }
    (format!("{error:#}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_full_disk_is_of_the_surroundings() {
        let io = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Err::<(), _>(io).context("writing the image").unwrap_err();
        assert_eq!(report(&error), (DISK_FULL.to_owned(), EXIT_SURROUNDINGS));
    }

    #[test]
    fn context_does_not_hide_the_surroundings() {
        let error = surroundings("no network").context("downloading");
        assert_eq!(report(&error), ("no network".to_owned(), EXIT_SURROUNDINGS));
    }

    #[test]
    fn anything_else_is_told_with_its_causes() {
        let error = anyhow::anyhow!("b").context("a");
        assert_eq!(report(&error), ("a: b".to_owned(), 1));
    }
}
