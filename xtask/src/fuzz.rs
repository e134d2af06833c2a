// SPDX-License-Identifier: GPL-2.0

//! Programs made by chance: when the kernel dies of one, the shortest that does the same is looked for.
//!
//! The guest's suite `fuzz` says each program before it runs, leaves parts of one out, and tries what remains
//! (`tests/guest/src/suite/fuzz/shrink.rs`). When the kernel dies of that, this end boots anew with what
//! remains, and has the guest go on from there. The result is a file in `tests/regressions`, which `make test` runs.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail, Context, Result};

use crate::cpio::Archive;
use crate::ktap::Outcome;
use crate::lane::Drivers;
use crate::place;
use crate::project::Project;
use crate::qemu::{Boot, Programs};

/// Where programs in files are in the repository and in the image, and what their names end with.
pub const FOLDER: &str = "tests/regressions";
pub const PLACE: &str = "usr/lib/xen-rust/regressions";
pub const EXTENSION: &str = "program";

/// The name of the program that a boot is to make shorter.
const CANDIDATE: &str = "candidate";

/// For how many seconds a program runs again and again that is to show that it does harm.
const AGAIN: u64 = 120;
/// For how many seconds candidates are tried in one boot.
const TRYING: u64 = 600;
/// Each candidate runs so many times as often as the whole program had to, within these limits.
const FACTOR: u64 = 4;
const FEWEST: u64 = 10;
const MOST: u64 = 200;

/// A step as the guest names it: a thread and a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Step(String);

/// A part of a program that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    size: usize,
    start: usize,
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let (size, start) = text.split_once('@')?;
        Some(Self {
            size: size.parse().ok()?,
            start: start.parse().ok()?,
        })
    }

    fn name(self) -> String {
        format!("{}@{}", self.size, self.start)
    }

    fn leave_out_of(self, steps: &mut Vec<Step>) {
        let end = steps.len().min(self.start + self.size);
        steps.drain(self.start.min(end)..end);
    }
}

/// What a guest has said about programs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// The program that ran last.
    last: Option<String>,
    /// How many ran.
    runs: u64,
    /// The steps of the one that runs again and again.
    steps: Vec<Step>,
    /// What steps do.
    does: HashMap<Step, String>,
    /// What it would have tried next, had there been time.
    stopped: Option<Part>,
    /// That there is nothing more to try.
    done: bool,
}

impl Said {
    fn take(&mut self, line: &str) {
        let text = match line.find("fuzz ") {
            Some(at) => line[at + "fuzz ".len()..].trim_end(),
            None => return,
        };
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "runs" => {
                self.last = Some(rest.to_owned());
                self.runs += 1;
            }
            "step" => self.steps.extend(step(rest)),
            "does" => {
                // The thread, the number, and what that is.
                let number = rest.match_indices(' ').nth(1).map(|(at, _)| at);
                if let Some((at, step)) = number.and_then(|at| Some((at, step(&rest[..at])?))) {
                    let what = rest[at + 1..].to_owned();
                    self.does.entry(step).or_insert(what);
                }
            }
            "stops" => {
                self.stopped = rest.strip_prefix("before ").and_then(Part::parse);
            }
            "is" => self.done = rest == "done",
            _ => {}
        }
    }
}

/// Reads a thread and a number of eight digits.
fn step(text: &str) -> Option<Step> {
    let (thread, number) = text.split_once(' ')?;
    thread.parse::<u32>().ok()?;
    u32::from_str_radix(number, 16).ok()?;
    (number.len() == 8).then(|| Step(text.to_owned()))
}

/// How a boot went.
struct Tried {
    said: Said,
    /// What was wrong with it, if anything.
    harm: Option<String>,
}

/// The search for the shortest program.
struct Search<'a> {
    project: &'a Project<'a>,
    /// The boot that failed.
    failed: &'a Boot<'a>,
    /// How many boots are left.
    boots: u32,
    /// The image with the program to be made shorter, once there is one.
    image: Option<PathBuf>,
}

/// Looks for the shortest program that does what one did in a boot that failed, in so many boots; says what it finds.
pub fn shrink(project: &Project<'_>, failed: &Boot<'_>, log: &Path, boots: u32) -> Result<()> {
    let mut said = Said::default();
    let text = fs::read(log).with_context(|| format!("reading {}", log.display()))?;
    String::from_utf8_lossy(&text)
        .lines()
        .for_each(|line| said.take(line));
    let name = match said.last {
        Some(name) if boots > 0 => name,
        _ => return Ok(()),
    };
    let mut search = Search {
        project,
        failed,
        boots,
        image: None,
    };
    match search.shortest(&name)? {
        Some((steps, harm)) => {
            let does = search.describe(&steps)?;
            let file = search.file(&name);
            let text = search.text(&name, &steps, &does, &harm);
            place::write(&project.places.repo.join(&file), text)?;
            println!(
                "the shortest program found has {} steps: {}",
                steps.len(),
                file.display()
            );
        }
        None => println!(
            "program {name} has not done it again in {AGAIN} s: it may have needed those before it (SEED=)"
        ),
    }
    Ok(())
}

impl Search<'_> {
    /// The steps of the shortest program found, and what it does.
    fn shortest(&mut self, name: &str) -> Result<Option<(Vec<Step>, String)>> {
        let again = self.boot(
            &format!("program {name} again"),
            Programs {
                seconds: AGAIN,
                only: Some(name.to_owned()),
                ..Programs::default()
            },
        )?;
        let Tried { said, harm } = again;
        let mut harm = match harm {
            Some(harm) => harm,
            None => return Ok(None),
        };
        let mut steps = said.steps;
        if steps.is_empty() {
            bail!("the guest has not said the steps of program {name}");
        }
        let times = (said.runs * FACTOR).clamp(FEWEST, MOST);
        let mut part = Part {
            size: (steps.len() + 1) / 2,
            start: 0,
        };
        while self.boots > 1 {
            self.put(&steps)?;
            let tried = self.boot(
                &format!("{} steps, without {} of them", steps.len(), part.size),
                Programs {
                    seconds: TRYING,
                    only: Some(CANDIDATE.to_owned()),
                    shrink: Some(part.name()),
                    times: Some(times),
                    ..Programs::default()
                },
            )?;
            let said = tried.said;
            match (said.stopped, said.last.as_deref().and_then(Part::parse)) {
                _ if said.done => break,
                (Some(next), _) => part = next,
                (None, Some(left_out)) => {
                    left_out.leave_out_of(&mut steps);
                    part = left_out;
                    harm = tried.harm.unwrap_or(harm);
                }
                (None, None) => bail!("the guest has tried nothing"),
            }
        }
        Ok(Some((steps, harm)))
    }

    /// What the steps do.
    fn describe(&mut self, steps: &[Step]) -> Result<HashMap<Step, String>> {
        self.put(steps)?;
        let tried = self.boot(
            &format!("{} steps, said as they are made", steps.len()),
            Programs {
                seconds: 5,
                only: Some(CANDIDATE.to_owned()),
                trace: true,
                ..Programs::default()
            },
        )?;
        Ok(tried.said.does)
    }

    /// Boots with programs.
    fn boot(&mut self, what: &str, programs: Programs) -> Result<Tried> {
        self.boots = self.boots.saturating_sub(1);
        let lane = self.failed.lane;
        let boot = Boot {
            lane,
            vmlinuz: self.failed.vmlinuz.clone(),
            image: self.image.as_ref().unwrap_or(&self.failed.image).clone(),
            dom0: self.failed.dom0,
            drivers: self.failed.drivers,
            mode: self.failed.mode,
            filter: self.failed.filter,
            long: self.failed.long,
            programs: Some(programs),
            clients: self.failed.clients,
        };
        let step = self
            .project
            .progress
            .step(format!("shrinking: {what}"), "booting");
        let log = self.project.places.log(lane, "shrink");
        let mut said = Said::default();
        let verdict = boot.watch(self.project, &log, |line, result| {
            said.take(line);
            match result {
                Some((Outcome::Failed, test)) => step.says(&format!("failed: {test}")),
                _ => step.says(line),
            }
        })?;
        step.done();
        let problem = verdict.problems.into_iter().next();
        let failure = verdict.failures.into_iter().next();
        Ok(Tried {
            said,
            harm: problem.or(failure),
        })
    }

    /// Puts a program into the image.
    fn put(&mut self, steps: &[Step]) -> Result<()> {
        let mut more = Archive::default();
        let lines: Vec<&str> = steps.iter().map(|step| step.0.as_str()).collect();
        more.text(
            &format!("{PLACE}/{CANDIDATE}.{EXTENSION}"),
            &lines.join("\n"),
        );
        // An image may be several archives; the later ones' files win.
        let image = self.project.places.lane(self.failed.lane).join("fuzz.cpio");
        let from = &self.failed.image;
        fs::copy(from, &image).with_context(|| format!("copying {}", from.display()))?;
        let mut file = File::options().append(true).open(&image)?;
        more.write(&mut file)?;
        self.image = Some(image);
        Ok(())
    }

    /// Where the result is kept, in the repository.
    fn file(&self, name: &str) -> PathBuf {
        let dom0 = self.failed.dom0.map_or("bare", |dom0| dom0.name());
        let drivers = match self.failed.drivers {
            Drivers::Rust => "",
            Drivers::C => "c-",
        };
        let name = name.replace('.', "-");
        Path::new(FOLDER).join(format!("{drivers}{dom0}-{name}.{EXTENSION}"))
    }

    /// A program as text: a step a line, with what it does.
    fn text(&self, name: &str, steps: &[Step], does: &HashMap<Step, String>, harm: &str) -> String {
        let mut text = format!(
            "# SPDX-License-Identifier: GPL-2.0\n#\n# From program {name}, on lane {} as a {} dom0 with the drivers in {}:\n# {harm}\n\n",
            self.failed.lane.name(),
            self.failed.dom0.map_or("bare", |dom0| dom0.name()),
            match self.failed.drivers {
                Drivers::Rust => "Rust",
                Drivers::C => "C",
            },
        );
        for step in steps {
            text.push_str(&step.0);
            if let Some(what) = does.get(step) {
                text.push_str(&format!("  # {what}"));
            }
            text.push('\n');
        }
        text
    }
}

/// Adds the programs in files to an image.
pub fn add(repo: &Path, image: &mut Archive) -> Result<()> {
    let folder = repo.join(FOLDER);
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let is_program = path.extension().map_or(false, |e| e == EXTENSION);
        if let (true, Some(name)) = (is_program, path.file_name()) {
            image.copy(&format!("{PLACE}/{}", name.to_string_lossy()), &path)?;
        }
    }
    Ok(())
}

/// Whether a text is the name of a program: numbers with dots between, or what a file is called.
pub fn is_name(repo: &Path, text: &str) -> Result<()> {
    let is_number = |part: &str| part.parse::<u64>().is_ok();
    let is_file = repo
        .join(FOLDER)
        .join(format!("{text}.{EXTENSION}"))
        .is_file();
    if text.split('.').all(is_number) || is_file {
        return Ok(());
    }
    Err(anyhow!(
        "no program {text}: its name is a number, numbers with dots between, or that of a file in {FOLDER}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[&str]) -> Said {
        let mut said = Said::default();
        lines.iter().for_each(|line| said.take(line));
        said
    }

    #[test]
    fn what_a_guest_says() {
        let said = said(&[
            "fuzz step 0 0000002a\r",
            "fuzz step 2 ffffffff",
            "fuzz step 2 junk",
            "(XEN) something fuzz",
            "fuzz runs 57.3\r",
            "fuzz does 0 0000002a open gntdev[1] /dev/xen/gntdev flags 0x2\r",
            "fuzz does 0 0000002a open again",
            "    # programs: 3 passed",
            "fuzz runs 4@12",
            "fuzz stops before 2@8",
        ]);
        assert_eq!(said.last.as_deref(), Some("4@12"));
        assert_eq!(said.runs, 2);
        let steps = [Step("0 0000002a".to_owned()), Step("2 ffffffff".to_owned())];
        assert_eq!(said.steps, steps);
        assert_eq!(
            said.does.get(&steps[0]).map(String::as_str),
            Some("open gntdev[1] /dev/xen/gntdev flags 0x2")
        );
        assert_eq!(said.stopped, Some(Part { size: 2, start: 8 }));
        assert!(!said.done);
    }

    #[test]
    fn an_end_is_heard() {
        assert!(said(&["fuzz is done"]).done);
        assert_eq!(said(&["fuzz", "fuzz is", "nothing"]), Said::default());
    }

    #[test]
    fn parts() {
        let part = Part { size: 3, start: 1 };
        assert_eq!(Part::parse(&part.name()), Some(part));
        assert_eq!(Part::parse("57.3"), None);
        let all: Vec<Step> = (0..5).map(|n| Step(n.to_string())).collect();
        let mut steps = all.clone();
        part.leave_out_of(&mut steps);
        assert_eq!(steps, [all[0].clone(), all[4].clone()]);
        part.leave_out_of(&mut steps);
        assert_eq!(steps, [all[0].clone()]);
        part.leave_out_of(&mut steps);
        assert_eq!(steps.len(), 1);
    }

    #[test]
    fn names() {
        let nowhere = Path::new("/nonexistent");
        for good in ["1", "57.3.9"] {
            assert!(is_name(nowhere, good).is_ok());
        }
        for bad in ["", ".", "1.", "x", "1 2"] {
            assert!(is_name(nowhere, bad).is_err());
        }
    }
}
