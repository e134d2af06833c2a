// SPDX-License-Identifier: GPL-2.0

//! Which libraries a program loads.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use object::elf::{FileHeader64, DT_NEEDED, DT_STRSZ, DT_STRTAB, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, StringTable};

use crate::tool::Tools;

/// Where Debian's programs find their libraries.
const FOLDERS: &[&str] = &["/usr/lib/x86_64-linux-gnu", "/usr/lib"];

/// What an ELF file asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// The names of libraries.
    libraries: Vec<String>,
    /// The path of the program loader.
    interpreter: Option<String>,
}

/// The paths, in the tools' system, of the libraries and the loader that programs need, and of
/// what those need in turn.
pub fn closure<'p>(
    tools: &Tools,
    programs: impl IntoIterator<Item = &'p Path>,
) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<_> = programs.into_iter().map(Path::to_owned).collect();
    while let Some(path) = open.pop() {
        let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        // Scripts need nothing that we could find out.
        let needs = match needs(&content) {
            Some(needs) => needs,
            None => continue,
        };
        found.extend(needs.interpreter);
        for name in needs.libraries {
            let library = library(tools, &name)
                .with_context(|| format!("{} needs {name}, which is not there", path.display()))?;
            if found.insert(library.clone()) {
                open.push(tools.file(&library));
            }
        }
    }
    Ok(found)
}

/// Where a library is.
pub fn library(tools: &Tools, name: &str) -> Option<String> {
    FOLDERS
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| tools.file(path).exists())
}

/// Reads what an ELF file asks for; nothing if it is not an ELF file of this machine's.
fn needs(content: &[u8]) -> Option<Needs> {
    let header = FileHeader64::<Endianness>::parse(content).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, content).ok()?;
    let mut needs = Needs::default();
    for segment in segments {
        if segment.p_type(endian) == PT_INTERP {
            let name = segment.data(endian, content).ok()?;
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            needs.interpreter = Some(String::from_utf8_lossy(name).into_owned());
        }
        let dynamic = match segment.dynamic(endian, content).ok()? {
            Some(dynamic) => dynamic,
            None => continue,
        };
        let value = |tag| {
            let entry = dynamic
                .iter()
                .find(|entry| entry.tag32(endian) == Some(tag))?;
            Some(entry.d_val(endian))
        };
        let (address, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
        let data = segments
            .iter()
            .find_map(|segment| segment.data_range(endian, content, address, size).ok()?)?;
        let table = StringTable::new(data, 0, data.len() as u64);
        for entry in dynamic {
            if entry.tag32(endian) == Some(DT_NEEDED) {
                let name = entry.string(endian, table).ok()?;
                needs
                    .libraries
                    .push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    Some(needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_own_needs() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = needs(&own).unwrap();
        assert!(
            needs.libraries.iter().any(|name| name == "libc.so.6"),
            "{needs:?}"
        );
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
    }

    #[test]
    fn a_script_needs_nothing() {
        assert_eq!(needs(b"#!/bin/sh\n"), None);
    }
}
