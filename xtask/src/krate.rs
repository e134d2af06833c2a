// SPDX-License-Identifier: GPL-2.0

//! The crates that the modules are made of, and what tools for reading code want to know of them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

use crate::kernel::{self, Kernel};
use crate::lane::Lane;
use crate::modules::{self, How};
use crate::place;
use crate::project::Project;
use crate::tool::{self, jobs};

/// The library crate, as Kbuild's fragments name crates: its root without the suffix.
const LIBRARY: &str = "rust/xen/xen";

/// What our crates use of the kernel's.
const USED: &[&str] = &["core", "kernel", "pin_init", "zerocopy", "zerocopy_derive"];

/// The roots of our crates without their suffix, the library first.
fn roots(repo: &Path) -> Result<Vec<String>> {
    let mut fragments = vec![repo.join("tests/kunit/module.mk")];
    for entry in fs::read_dir(repo.join("drivers/xen")).context("reading drivers/xen")? {
        fragments.push(entry?.path().join("module.mk"));
    }
    fragments.sort();
    let mut roots = vec![LIBRARY.to_owned()];
    for fragment in fragments {
        // A driver may be without one, and then has no module.
        if let Ok(text) = fs::read_to_string(&fragment) {
            roots.extend(text.lines().filter_map(root).map(str::to_owned));
        }
    }
    Ok(roots)
}

/// The second argument of `$(eval $(call xen_module,name,root,...))`.
fn root(line: &str) -> Option<&str> {
    let (_, arguments) = line.split_once("call xen_module,")?;
    let root = arguments.split(',').nth(1)?;
    Some(root.trim_end_matches(')'))
}

fn name(root: &str) -> &str {
    root.rsplit('/').next().unwrap_or(root)
}

/// `make doc`: the documentation of our crates, by rustdoc with the flags Kbuild compiled them with.
pub fn document(project: &Project<'_>, lane: Lane) -> Result<PathBuf> {
    let kernel = kernel::ensure(project, lane)?;
    let objects = modules::compile(project, &kernel, How::Build)?;
    let fresh = project.places.build().join("doc.part");
    place::remove_dir(&fresh)?;
    for root in roots(&project.places.repo)? {
        let step = project
            .progress
            .step(format!("documentation of {}", name(&root)), "reading");
        let path = objects.join(&root);
        let saved = path.with_file_name(format!(".{}.o.cmd", name(&root)));
        let saved =
            fs::read_to_string(&saved).with_context(|| format!("reading {}", saved.display()))?;
        let command = match rustdoc(&saved, &fresh) {
            // Nothing of a driver is public: its documentation is for those who work on it.
            Some(command) if root != LIBRARY => {
                command + " --document-private-items -Arustdoc::private_intra_doc_links"
            }
            Some(command) => command,
            None => bail!("Kbuild did not keep how it compiled {root}"),
        };
        let mut shell = project.tools.command("sh", &objects);
        shell.env("RUSTC_BOOTSTRAP", "1");
        if root == LIBRARY {
            let bindings = objects.join("rust/xen/bindings_generated.rs");
            shell.env("XEN_BINDINGS_FILE", bindings);
        }
        tool::run(shell.args(["-c", &command]), &step, None)?;
        step.done();
    }
    let doc = project.places.build().join("doc");
    place::remove_dir(&doc)?;
    fs::rename(&fresh, &doc).context("putting the documentation in its place")?;
    Ok(doc)
}

/// The command of rustdoc's that goes with a saved command of rustc's.
fn rustdoc(saved: &str, out: &Path) -> Option<String> {
    let (_, command) = saved.lines().next()?.split_once(" := ")?;
    let compile = command.split(" ; ").next()?;
    let mut words = Vec::new();
    let mut all = compile.split_whitespace();
    while let Some(word) = all.next() {
        match word {
            // A link to nowhere is a warning, and no document is made with one.
            "rustc" | "clippy-driver" => words.extend(["rustdoc", "-Dwarnings"].map(str::to_owned)),
            "--out-dir" => {
                all.next();
                words.push(format!("--out-dir {}", out.display()));
            }
            _ if word.starts_with("--emit=") => {}
            _ => words.push(word.to_owned()),
        }
    }
    words
        .contains(&"rustdoc".to_owned())
        .then(|| words.join(" "))
}

/// `make rust-analyzer`: writes rust-project.json, the kernel's own with our crates added.
pub fn describe(project: &Project<'_>, lane: Lane) -> Result<PathBuf> {
    let kernel = kernel::ensure(project, lane)?;
    // For the bindings, which are made by the build.
    let objects = modules::compile(project, &kernel, How::Build)?;
    let step = project
        .progress
        .step("rust-project.json", "asking Kbuild for the kernel's crates");
    let mut make = project.tools.command("make", &kernel.objects);
    make.arg(format!("-j{}", jobs())).arg("rust-analyzer");
    tool::run(&mut make, &step, None)?;
    let own = kernel.objects.join("rust-project.json");
    let text = fs::read_to_string(&own).with_context(|| format!("reading {}", own.display()))?;
    let mut description: Value =
        serde_json::from_str(&text).context("reading rust-project.json")?;
    add_crates(project, &kernel, &objects, &mut description)?;
    let file = project.places.repo.join("rust-project.json");
    place::write(&file, serde_json::to_string_pretty(&description)?)?;
    step.done();
    Ok(file)
}

fn add_crates(
    project: &Project<'_>,
    kernel: &Kernel,
    objects: &Path,
    description: &mut Value,
) -> Result<()> {
    // The compiler's own sources are in the build root.
    let here = |path: &str| project.tools.file(path).to_string_lossy().into_owned();
    if let Some(sysroot) = description["sysroot"].as_str().map(here) {
        description["sysroot"] = json!(sysroot);
    }
    let crates = description["crates"]
        .as_array_mut()
        .context("rust-project.json has no crates")?;
    for krate in crates.iter_mut() {
        if let Some(root) = krate["root_module"]
            .as_str()
            .filter(|root| root.starts_with("/usr/"))
        {
            krate["root_module"] = json!(here(root));
        }
    }
    let find = |crates: &[Value], wanted: &str| {
        crates
            .iter()
            .position(|krate| krate["display_name"] == wanted)
    };
    // Only what a kernel release has.
    let mut uses: Vec<Value> = USED
        .iter()
        .filter_map(|name| Some(json!({ "crate": find(crates, name)?, "name": name })))
        .collect();
    let cfg = match find(crates, "kernel") {
        Some(index) => crates[index]["cfg"].clone(),
        None => bail!("{} describes no crate `kernel`", kernel.objects.display()),
    };
    for root in roots(&project.places.repo)? {
        let library = root == LIBRARY;
        crates.push(json!({
            "display_name": name(&root),
            "root_module": project.places.repo.join(&root).with_extension("rs"),
            "is_workspace_member": true,
            "deps": uses,
            "cfg": cfg,
            "edition": "2021",
            "env": {
                "RUST_MODFILE": "This is only for rust-analyzer",
                "XEN_BINDINGS_FILE": objects.join("rust/xen/bindings_generated.rs"),
            },
            "source": {
                "include_dirs": [project.places.repo, objects],
                "exclude_dirs": [project.places.build().join("cache")],
            },
        }));
        if library {
            uses.push(json!({ "crate": crates.len() - 1, "name": name(&root) }));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_read_from_kbuild_s_fragments() {
        let short = "$(eval $(call xen_module,xenfs,drivers/xen/xenfs/xenfs))";
        assert_eq!(root(short), Some("drivers/xen/xenfs/xenfs"));
        let long = "$(eval $(call xen_module,xen-a,drivers/xen/a/a,drivers/xen/a/exports.o))";
        assert_eq!(root(long), Some("drivers/xen/a/a"));
        assert_eq!(root("# a comment"), None);
        assert_eq!(name("drivers/xen/a/a"), "a");
    }

    #[test]
    fn rustdoc_gets_rustc_s_flags() {
        let saved = "savedcmd_x.o := A=1 rustc --edition=2021 --emit=obj=x.o --out-dir rust/ x.rs   ; objtool x.o\n\nmore";
        assert_eq!(
            rustdoc(saved, Path::new("/doc")).as_deref(),
            Some("A=1 rustdoc -Dwarnings --edition=2021 --out-dir /doc x.rs")
        );
        assert_eq!(rustdoc("nothing", Path::new("/doc")), None);
    }
}
