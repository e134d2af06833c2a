// SPDX-License-Identifier: GPL-2.0

//! The modules: what is loaded, and what the next boot would load.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::system::System;

/// The modules that are ours, as their files are named.
pub const NAMES: &[&str] = &[
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xenfs",
    "xen-balloon",
];

/// Whose code a driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Ours.
    Rust,
    /// The kernel's own.
    C,
    /// The kernel's own, and not a module: nothing can take its place.
    BuiltIn,
    None,
}

/// One of the modules.
#[derive(Debug, Serialize)]
pub struct Module {
    pub name: &'static str,
    /// Whose is running.
    pub loaded: Driver,
    /// The version of what is running, if it is ours.
    pub version: Option<String>,
    /// What is running and what is installed are of one making, as far as can be told.
    pub source: Option<String>,
    /// What `modprobe` would load.
    pub installed: Option<Installed>,
    pub parameters: BTreeMap<String, String>,
}

/// A module's file.
#[derive(Debug, Serialize)]
pub struct Installed {
    pub file: String,
    pub driver: Driver,
    pub version: Option<String>,
    pub source: Option<String>,
}

impl Module {
    pub fn find(system: &System, release: &str, name: &'static str) -> Self {
        let folder = format!("/sys/module/{}", name.replace('-', "_"));
        let field = |field: &str| system.text(&format!("{folder}/{field}"));
        // Only what was loaded has a state; what is built in may have parameters.
        let is_loaded = field("initstate").is_some();
        let version = field("version").filter(|_| is_loaded);
        let loaded = match (is_loaded, &version) {
            // The kernel's own modules of these names have no version.
            (true, Some(_)) => Driver::Rust,
            (true, None) => Driver::C,
            (false, _) if is_built_in(system, release, name) => Driver::BuiltIn,
            (false, _) => Driver::None,
        };
        let parameters = system
            .names(&format!("{folder}/parameters"))
            .into_iter()
            .map(|name| {
                let value = field(&format!("parameters/{name}")).unwrap_or_default();
                (name, value)
            })
            .collect();
        Self {
            name,
            loaded,
            version,
            source: field("srcversion").filter(|_| is_loaded),
            installed: Installed::find(system, release, name),
            parameters,
        }
    }

    /// Whether something else is running than what is installed.
    pub fn is_old(&self) -> bool {
        let Some(installed) = &self.installed else {
            return false;
        };
        self.loaded == Driver::Rust
            && installed.driver == Driver::Rust
            && (self.version != installed.version || self.source != installed.source)
    }
}

impl Installed {
    fn find(system: &System, release: &str, name: &str) -> Option<Self> {
        let field = |field| system.module_field(release, name, field);
        let file = field("filename").filter(|file| file.starts_with('/'))?;
        let version = field("version");
        Some(Self {
            file,
            driver: if version.is_some() {
                Driver::Rust
            } else {
                Driver::C
            },
            version,
            source: field("srcversion"),
        })
    }
}

/// Whether a module's code is part of the kernel's image.
pub fn is_built_in(system: &System, release: &str, name: &str) -> bool {
    let list = format!("/lib/modules/{release}/modules.builtin");
    let file = format!("/{name}.ko");
    system
        .text(&list)
        .is_some_and(|text| text.lines().any(|line| line.ends_with(&file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(loaded: Driver, version: Option<&str>, source: Option<&str>) -> Module {
        Module {
            name: "xenfs",
            loaded,
            version: version.map(str::to_owned),
            source: source.map(str::to_owned),
            installed: Some(Installed {
                file: "/lib/modules/7.2.0/updates/xenfs.ko".to_owned(),
                driver: Driver::Rust,
                version: Some("2".to_owned()),
                source: Some("b".to_owned()),
            }),
            parameters: BTreeMap::new(),
        }
    }

    #[test]
    fn a_module_is_old_if_another_build_is_installed() {
        assert!(!module(Driver::Rust, Some("2"), Some("b")).is_old());
        assert!(module(Driver::Rust, Some("1"), Some("b")).is_old());
        assert!(module(Driver::Rust, Some("2"), Some("a")).is_old());
    }

    #[test]
    fn what_is_not_ours_or_not_installed_is_not_old() {
        assert!(!module(Driver::C, None, None).is_old());
        let mut gone = module(Driver::Rust, Some("1"), Some("a"));
        gone.installed = None;
        assert!(!gone.is_old());
    }
}
