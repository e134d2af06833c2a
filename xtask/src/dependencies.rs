// SPDX-License-Identifier: GPL-2.0

//! What xtask is made of besides its own code, as far as that can be checked without a network: each
//! crate is the registry's, under a licence that goes with ours, and there once.
//!
//! Which versions have known defects cannot be told without a network: `cargo audit` can.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, Context, Result};
use serde_json::Value;

use crate::tool;

/// Licences one of which a crate must offer. All allow its use in a program under GPL-2.0.
const LICENCES: &[&str] = &[
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "MIT",
    "Unlicense",
    "Zlib",
];

const REGISTRY: &str = "registry+";

/// A crate, as cargo describes it.
#[derive(Debug)]
struct Dependency {
    name: String,
    version: String,
    licence: String,
    /// Where it is from, if it is not part of the repository.
    source: Option<String>,
}

/// Prints the licences of the crates that a program uses; gives what is wrong.
pub fn check(repo: &Path, program: &str) -> Result<Vec<String>> {
    let mut cargo = tool::host("cargo", &repo.join(program));
    cargo.args(["metadata", "--format-version=1", "--locked", "--offline"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let said = tool::output(&mut cargo).with_context(|| format!("what {program} depends on"))?;
    let foreign: Vec<_> = parse(&said)?
        .into_iter()
        .filter(|dependency| dependency.source.is_some())
        .collect();
    let mut by_licence: BTreeMap<&str, usize> = BTreeMap::new();
    for dependency in &foreign {
        *by_licence.entry(&dependency.licence).or_default() += 1;
    }
    let licences: Vec<_> = by_licence
        .iter()
        .map(|(licence, count)| format!("{licence} ({count})"))
        .collect();
    println!("{program}'s are under {}", licences.join(", "));
    Ok(wrong(&foreign)
        .into_iter()
        .map(|what| format!("{program}: {what}"))
        .collect())
}

fn parse(metadata: &str) -> Result<Vec<Dependency>> {
    let metadata: Value = serde_json::from_str(metadata).context("reading cargo's answer")?;
    let packages = match metadata["packages"].as_array() {
        Some(packages) if !packages.is_empty() => packages,
        _ => bail!("cargo names no packages"),
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(packages
        .iter()
        .map(|package| Dependency {
            name: text(&package["name"]).unwrap_or_default(),
            version: text(&package["version"]).unwrap_or_default(),
            licence: text(&package["license"]).unwrap_or_default(),
            source: text(&package["source"]),
        })
        .collect())
}

fn wrong(foreign: &[Dependency]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for dependency in foreign {
        let what = format!("{} {}", dependency.name, dependency.version);
        let source = dependency.source.as_deref().unwrap_or_default();
        if !source.starts_with(REGISTRY) {
            wrong.push(format!("{what} is from {source}"));
        }
        if !is_allowed(&dependency.licence) {
            wrong.push(format!("{what} is under {:?}", dependency.licence));
        }
        if !seen.insert(&dependency.name) {
            wrong.push(format!("{what} is there in another version, too"));
        }
    }
    wrong
}

/// Whether a licence lets us choose one of ours. Of an expression with anything else than a choice
/// in it nothing is assumed.
fn is_allowed(licence: &str) -> bool {
    licence
        .split(" OR ")
        .flat_map(|choice| choice.split('/'))
        .any(|choice| LICENCES.contains(&choice.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_licences_is_enough() {
        for licence in [
            "MIT",
            "MIT OR Apache-2.0",
            "Apache-2.0/MIT",
            "Unlicense OR MIT",
        ] {
            assert!(is_allowed(licence), "{licence}");
        }
        for licence in ["", "Apache-2.0", "MIT AND CC-BY-4.0", "GPL-3.0"] {
            assert!(!is_allowed(licence), "{licence}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let found = parse(
            r#"{"packages": [
                {"name": "own", "version": "1", "license": "GPL-2.0", "source": null},
                {"name": "a", "version": "1", "license": "MIT", "source": "registry+x"},
                {"name": "a", "version": "2", "license": "MIT", "source": "registry+x"},
                {"name": "b", "version": "1", "license": null, "source": "git+y"}
            ]}"#,
        )
        .unwrap();
        let foreign: Vec<_> = found.into_iter().filter(|d| d.source.is_some()).collect();
        assert_eq!(
            wrong(&foreign),
            [
                "a 2 is there in another version, too",
                "b 1 is from git+y",
                "b 1 is under \"\""
            ]
        );
        assert!(parse("{}").is_err());
    }
}
