// SPDX-License-Identifier: GPL-2.0

//! What every command works with: the places, the tools, the archive.

use std::env;
use std::path::Path;
use std::thread;

use anyhow::{anyhow, Result};

use crate::archive::Archive;
use crate::kernel;
use crate::lane::Lane;
use crate::lock::Lock;
use crate::place::{self, Places};
use crate::root::{self, XEN};
use crate::sandbox;
use crate::step::Progress;
use crate::tool::{self, Tools};

/// Whether the user wants the host's own tools.
pub fn native() -> bool {
    env::var_os("NATIVE").map_or(false, |value| value == "1")
}

/// The project with everything that has to be there before anything can be built.
pub struct Project<'a> {
    pub progress: &'a Progress,
    pub places: &'a Places,
    pub archive: Archive<'a>,
    pub tools: Tools,
    build_lock: Option<Lock>,
}

impl<'a> Project<'a> {
    /// Takes the locks and makes the build root, while the packages of `lanes` are downloaded.
    pub fn open(progress: &'a Progress, places: &'a Places, lanes: &[Lane]) -> Result<Self> {
        let build = places.build();
        let build_lock = Lock::of_build(progress, &build)?;
        let _cache_lock = Lock::of_cache(progress, &places.cache)?;
        let archive = Archive::open(progress, places.cache.join("archive"))?;
        let cargo_home = places.cache.join("cargo");
        std::fs::create_dir_all(&cargo_home)?;
        let tools = if native() {
            Tools::new(None, cargo_home)
        } else {
            let root = thread::scope(|scope| -> Result<_> {
                let downloads = scope.spawn(|| -> Result<()> {
                    for lane in lanes {
                        kernel::download(&archive, &places.cache, *lane)?;
                    }
                    Ok(())
                });
                let root = root::ensure(progress, &archive, &places.cache);
                downloads
                    .join()
                    .map_err(|_| anyhow!("the downloads panicked"))??;
                root
            })?;
            sandbox::furnish(&root, &[&places.repo, &places.cache])?;
            place::link(&root, &build.join("root"))?;
            let tools = Tools::new(Some(root), cargo_home);
            for lane in lanes.iter().filter(|lane| !lane.packages().is_empty()) {
                root::add(progress, &tools, lane.packages())?;
            }
            tools
        };
        let project = Self {
            progress,
            places,
            archive,
            tools,
            build_lock: Some(build_lock),
        };
        project.check_tools()?;
        let xen = project.tools.file(&format!("/boot/xen-{XEN}-amd64.gz"));
        place::link(&xen, &build.join("xen.gz"))?;
        Ok(project)
    }

    /// Lets other runs build in this clone: what is needed has been built, and is only used from
    /// here on.
    pub fn release(&mut self) {
        self.build_lock = None;
    }

    /// With the host's own tools, they may be missing or others than the kernel was built with.
    fn check_tools(&self) -> Result<()> {
        for program in [
            "make",
            "gcc",
            "rustc",
            "bindgen",
            "cargo",
            "qemu-system-x86_64",
            "depmod",
        ] {
            let mut version = self.tools.command(program, Path::new("/"));
            if tool::output(version.arg("--version")).is_err() {
                return Err(crate::error::surroundings(format!(
                    "{program} is missing: install the packages listed in xtask/src/root.rs, \
                     or leave NATIVE=1 away"
                )));
            }
        }
        Ok(())
    }
}
