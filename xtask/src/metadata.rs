// SPDX-License-Identifier: GPL-2.0

//! Rust metadata for Debian's kernel.
//!
//! Debian builds its kernel with Rust but ships no `*.rmeta` with the headers. The same compiler,
//! source and configuration give metadata whose symbol names are those of the running kernel:
//! modules built against it load on the untouched image.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::kernel;
use crate::lane::Lane;
use crate::project::Project;
use crate::tool;

/// Changes when the steps below do, so that what they made before is made again.
pub const RECIPE: &str = "1";

/// Makes the tree of objects that modules for the image `release` are built against. `package`
/// holds the unpacked headers of that image.
pub fn make(
    project: &Project<'_>,
    source: &Path,
    objects: &Path,
    package: &Path,
    release: &str,
) -> Result<()> {
    let headers = package.join(format!("usr/src/linux-headers-{release}"));
    fs::create_dir_all(objects).with_context(|| format!("making {}", objects.display()))?;
    for file in [".config", "Module.symvers"] {
        fs::copy(headers.join(file), objects.join(file))
            .with_context(|| format!("taking {file} from Debian's headers"))?;
    }
    let step = project.progress.step(
        format!("Rust metadata of {release}"),
        "compiling the kernel's Rust crates takes two minutes the first time",
    );
    let log = project.places.log(Lane::Stock, "metadata");
    for targets in [&["olddefconfig"][..], &["prepare", "modules_prepare"]] {
        let mut make = kernel::make(project, source, objects);
        // Debian's own release, which the version in the source does not yield.
        make.arg(format!("KERNELRELEASE={release}")).args(targets);
        tool::run(&mut make, &step, Some(&log))?;
    }
    step.done();
    Ok(())
}
