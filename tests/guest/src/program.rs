// SPDX-License-Identifier: GPL-2.0

//! Programs of dom0's that a guest has in a folder, with the libraries they load.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::domu;

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// The loader's name in a guest's folder.
const LOADER_THERE: &str = "loader";
/// What the C library loads when a thread is to end, which libxenstore has one do: name and file.
const UNWINDER: (&str, &str) = ("libgcc_s.so.1", "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1");

/// Programs with all they load, as files for a guest.
pub fn with_libraries(programs: &[&str]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut files: BTreeMap<String, String> = [(LOADER_THERE, LOADER), UNWINDER]
        .into_iter()
        .map(|(name, file)| (name.to_owned(), file.to_owned()))
        .collect();
    for program in programs {
        // Lines of `NAME => FILE (ADDRESS)`.
        let libraries = domu::output(LOADER, &["--list", program])?;
        let name = program.rsplit('/').next().unwrap_or(program);
        files.insert(name.to_owned(), (*program).to_owned());
        for line in libraries.lines() {
            let Some((name, rest)) = line.split_once(" => ") else {
                continue;
            };
            let file = rest.split_whitespace().next().unwrap_or(rest);
            files.insert(name.trim().to_owned(), file.to_owned());
        }
    }
    files
        .into_iter()
        .map(|(name, file)| match fs::read(&file) {
            Ok(content) => Ok((name, content)),
            Err(error) => Err(format!("{file}: {error}")),
        })
        .collect()
}

/// A command with a program that this guest has in a folder.
pub fn in_folder(folder: &str, program: &str) -> Command {
    let mut command = Command::new(format!("/{folder}/{LOADER_THERE}"));
    command
        .args(["--library-path", &format!("/{folder}")])
        .arg(format!("/{folder}/{program}"));
    command
}

/// The same as a word of the shell's.
pub fn word(folder: &str, program: &str) -> String {
    format!("/{folder}/{LOADER_THERE} --library-path /{folder} /{folder}/{program}")
}
