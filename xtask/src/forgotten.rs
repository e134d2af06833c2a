// SPDX-License-Identifier: GPL-2.0

//! Requests of privcmd that forget to ask for the right they need: none of them must compile.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::kernel::Kernel;
use crate::modules::{self, How};
use crate::project::Project;
use crate::tool;

const DRIVER: &str = "drivers/xen/privcmd";
const CRATE: &str = "privcmd";
/// The file with the requests.
const REQUESTS: &str = "file.rs";

/// How a request asks, and what it has if it forgets that.
const FORGOTTEN: &[(&str, &str)] = &[
    ("self.authorise(request.domain())?", "request.domain()"),
    ("self.unrestricted()?", "()"),
];

/// What rustc says where something else is wanted.
const REFUSAL: &str = "error[E0308]: mismatched types";

/// What became of the requests.
#[derive(Default)]
pub struct Outcome {
    pub refused: u64,
    /// Those that did compile, or failed otherwise.
    pub wrong: Vec<String>,
}

/// Compiles the driver once for each request, which forgets.
pub fn run(project: &Project<'_>, kernel: &Kernel) -> Result<Outcome> {
    let objects = modules::objects(project, kernel, How::Build);
    let command = objects.join(DRIVER).join(format!(".{CRATE}.o.cmd"));
    let command =
        fs::read_to_string(&command).with_context(|| format!("reading {}", command.display()))?;
    let source = project.places.repo.join(DRIVER);
    let copy = Copy::new(&source, project.places.lane(kernel.lane).join("forgotten"))?;
    let compiler = compiler(&command, &source, &copy.dir)?;
    let requests = fs::read_to_string(source.join(REQUESTS))?;

    let step = project
        .progress
        .step("requests that forgot to ask", "compiling");
    let log = project.places.log(kernel.lane, "forgotten");
    let compile = |text: &str| -> Result<tool::Ran> {
        fs::write(copy.dir.join(REQUESTS), text)?;
        let mut sh = project.tools.command("sh", &objects);
        sh.env("RUSTC_BOOTSTRAP", "1").args(["-c", &compiler]);
        tool::watch(&mut sh, &step, Some(&log), |_| {})
    };
    let mut outcome = Outcome::default();
    // Or they fail for another reason.
    if !compile(&requests)?.success {
        bail!("the driver does not compile by itself: {}", log.display());
    }
    for (line, text) in forgetful(&requests) {
        let ran = compile(&text)?;
        if !ran.success && ran.says(REFUSAL) {
            outcome.refused += 1;
        } else {
            outcome
                .wrong
                .push(format!("{DRIVER}/{REQUESTS}:{line} may forget to ask"));
        }
    }
    if outcome.refused == 0 {
        outcome
            .wrong
            .push(format!("{DRIVER}/{REQUESTS} asks for nothing"));
    }
    step.done();
    Ok(outcome)
}

/// The driver's sources, to be changed.
struct Copy {
    dir: PathBuf,
}

impl Copy {
    fn new(source: &Path, dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        for entry in fs::read_dir(source)? {
            let path = entry?.path();
            if path.extension().map_or(false, |suffix| suffix == "rs") {
                fs::copy(&path, dir.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(Self { dir })
    }
}

/// The command that Kbuild compiled the driver by, but for a copy of it, and without code.
fn compiler(saved: &str, source: &Path, copy: &Path) -> Result<String> {
    let root = source.join(format!("{CRATE}.rs"));
    let command = saved
        .lines()
        .next()
        .and_then(|line| line.split_once(" := "))
        .and_then(|(_, command)| command.split(" ; ").next())
        .filter(|command| !command.contains('$'))
        .with_context(|| format!("not a command of Kbuild's: {saved:?}"))?;
    let mut words = Vec::new();
    let mut is_folder = false;
    for word in command.split(' ') {
        if is_folder {
            words.push(copy.display().to_string());
        } else if Path::new(word) == root {
            words.push(copy.join(format!("{CRATE}.rs")).display().to_string());
        } else if !word.starts_with("--emit=") {
            words.push(word.to_owned());
        }
        is_folder = word == "--out-dir";
    }
    words.push("--emit=metadata".to_owned());
    Ok(words.join(" "))
}

/// The requests with one of them changed, and the number of its line.
fn forgetful(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    FORGOTTEN.iter().flat_map(move |(asks, forgot)| {
        text.match_indices(asks).map(move |(at, _)| {
            let (before, after) = (&text[..at], &text[at + asks.len()..]);
            let line = before.matches('\n').count() + 1;
            (line, format!("{before}{forgot}{after}"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_forgets_once() {
        let text = "a(self.unrestricted()?);\nb(self.authorise(request.domain())?);\n\
                    c(self.authorise(request.domain())?);\n";
        let lines: Vec<_> = forgetful(text)
            .map(|(line, text)| (line, text.lines().nth(line - 1).unwrap_or("").to_owned()))
            .collect();
        assert_eq!(
            lines,
            [
                (2, "b(request.domain());".to_owned()),
                (3, "c(request.domain());".to_owned()),
                (1, "a(());".to_owned()),
            ]
        );
        assert!(forgetful(text).all(|(_, text)| text.matches("self").count() == 2));
    }

    #[test]
    fn compiles_a_copy_without_code() {
        let saved = "savedcmd_x.o := RUST_MODFILE=./m rustc -L ./rust --out-dir x/ --emit=dep-info=x.d --emit=obj=x.o \
                     /repo/drivers/xen/privcmd/privcmd.rs   ; objtool x.o\n\nsource_x.o := y\n";
        let source = Path::new("/repo/drivers/xen/privcmd");
        let command = compiler(saved, source, Path::new("/copy")).unwrap_or_default();
        let words: Vec<_> = command.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "RUST_MODFILE=./m",
                "rustc",
                "-L",
                "./rust",
                "--out-dir",
                "/copy",
                "/copy/privcmd.rs",
                "--emit=metadata"
            ]
        );
        assert!(compiler("nothing", source, Path::new("/copy")).is_err());
    }
}
