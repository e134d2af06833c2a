// SPDX-License-Identifier: GPL-2.0

//! `make bench`: what each operation costs with our drivers and with the kernel's own, in
//! instructions; `make bench-check`: whether ours have become slower.
//!
//! One boot for each kind of dom0 and each set of drivers, in the same kernel. The machine has one
//! vCPU and a clock that counts executed instructions, so the figures do not depend on how busy
//! this machine is.

mod figures;
mod floor;
mod picture;
mod table;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::cpio::Archive;
use crate::guest;
use crate::image;
use crate::kernel::Kernel;
use crate::lane::{Dom0, Drivers, Lane};
use crate::modules;
use crate::place;
use crate::program::Program;
use crate::project::Project;
use crate::qemu::{Boot, Mode, BENCH_INIT};

use figures::{All, Figures};

/// The measuring program's folder in the repository.
pub const FOLDER: &str = "tests/bench";

const PROGRAM: Program = Program {
    title: "measuring program",
    folder: FOLDER,
    target: "bench",
    executable: "release/xen-bench",
};

/// What precedes a line of figures.
const MARK: &str = "XEN-BENCH ";
/// The figures that have been committed, and the page about them.
const COMMITTED: &str = "docs/performance.json";
const PAGE: &str = "docs/performance.md";
/// What the names of the operations begin with that several processors make at once.
const SCALING: &str = "scaling";
/// How much slower an operation may have become.
const TOLERANCE: f64 = 0.03;
/// The same for binding ports and closing them: the kernel frees interrupts after a grace period, now within a sample,
/// now within another.
const TOLERANCE_OF_PORTS: f64 = 0.1;
const OF_PORTS: [&str; 2] = ["ports_", "bind_unbind"];
/// How often an operation is measured that seems slower. Where it leaves work for later, or memory lies elsewhere, it
/// takes more in one boot than in another; one that has become slower does so in each.
const ATTEMPTS: usize = 4;

/// What to do with the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Show,
    /// Show them and make them the committed ones.
    Save,
    /// Measure ours only, and compare them with the committed ones.
    Check,
}

/// What to measure.
pub struct Bench {
    pub lane: Lane,
    pub dom0: Vec<Dom0>,
    /// Only operations of these names.
    pub filter: Option<String>,
    pub then: Then,
}

/// What is measured in one boot.
struct Part<'a> {
    dom0: Dom0,
    drivers: Drivers,
    mode: Mode,
    filter: Option<&'a str>,
}

impl Bench {
    /// Measures; gives the exit status.
    pub fn run(&self, project: &mut Project<'_>) -> Result<u8> {
        let (kernel, modules) = modules::for_lane(project, self.lane)?;
        let guest = guest::build(project)?;
        let dom0_image = image::dom0(project, &kernel, &modules, &guest)?;
        let image = add_program(project, &dom0_image, &PROGRAM.build(project)?)?;
        project.release();

        let mut all = All::new(&kernel.release);
        let drivers: &[Drivers] = match self.then {
            Then::Check => &[Drivers::Rust],
            _ => &[Drivers::C, Drivers::Rust],
        };
        for dom0 in &self.dom0 {
            for drivers in drivers {
                for mode in self.modes() {
                    let part = Part {
                        dom0: *dom0,
                        drivers: *drivers,
                        mode,
                        filter: self.filter.as_deref(),
                    };
                    all.add(
                        *dom0,
                        *drivers,
                        self.measure(project, &kernel, &image, &part)?,
                    );
                }
            }
        }
        let repo = &project.places.repo;
        if self.then == Then::Check {
            let path = repo.join(COMMITTED);
            let text =
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let committed = All::parse(&text)?;
            for _ in 1..ATTEMPTS {
                self.once_more(project, &kernel, &image, &committed, &mut all)?;
            }
            return Ok(self.compare(&committed, &all));
        }
        print!("{}", table::text(&all));
        let build = project.places.build().join("bench");
        place::write(&build.join("figures.json"), all.to_json())?;
        place::write(&build.join("figures.svg"), picture::svg(&all))?;
        println!("the figures and a picture of them: {}", build.display());
        if self.then == Then::Save {
            // What was not measured now keeps its figures.
            if let Ok(text) = fs::read_to_string(repo.join(COMMITTED)) {
                all.keep(All::parse(&text)?);
            }
            place::write(&repo.join(COMMITTED), all.to_json())?;
            let page =
                fs::read_to_string(repo.join(PAGE)).context("reading docs/performance.md")?;
            place::write(
                &repo.join(PAGE),
                table::replace(&page, &table::markdown(&all))?,
            )?;
        }
        Ok(0)
    }

    /// What has to be booted.
    fn modes(&self) -> Vec<Mode> {
        let filter = self.filter.as_deref().unwrap_or("*");
        let mut modes = Vec::new();
        if !filter.starts_with(SCALING) {
            modes.push(Mode::Bench);
        }
        if (filter.starts_with(SCALING) || filter.starts_with('*')) && self.then != Then::Check {
            modes.push(Mode::Scaling);
        }
        modes
    }

    fn measure(
        &self,
        project: &Project<'_>,
        kernel: &Kernel,
        image: &Path,
        part: &Part<'_>,
    ) -> Result<Figures> {
        let Part {
            dom0,
            drivers,
            mode,
            filter,
        } = *part;
        let (kind, several) = match mode {
            Mode::Scaling => ("scaling", ", several processors"),
            _ => ("bench", ""),
        };
        let name = format!("{kind}-{}-{}", dom0.name(), drivers.name());
        let log = project.places.log(self.lane, &name);
        let what = format!(
            "{} dom0, {} drivers{several}",
            dom0.name().to_uppercase(),
            match drivers {
                Drivers::Rust => "our",
                Drivers::C => "the kernel's",
            }
        );
        let step = project
            .progress
            .step(format!("measuring: {what}"), "booting");
        let boot = Boot {
            lane: self.lane,
            image: image.to_path_buf(),
            vmlinuz: kernel.vmlinuz.clone(),
            dom0: Some(dom0),
            drivers,
            mode,
            filter,
            long: false,
            programs: None,
            clients: false,
        };
        let mut figures = Figures::default();
        let mut unreadable = None;
        let verdict = boot.watch(project, &log, |line, _| {
            step.says(line);
            if let Some(at) = line.find(MARK) {
                if let Err(error) = figures.take(line[at + MARK.len()..].trim()) {
                    unreadable = Some(error);
                }
            }
        })?;
        if let Some(error) = unreadable {
            return Err(error.context(format!("reading {}", log.display())));
        }
        if let Some(problem) = verdict.problems.first() {
            bail!("{problem}\n(the console's log: {})", log.display());
        }
        step.done();
        Ok(figures)
    }

    /// Measures again what takes more than it may, and keeps the lower figures.
    fn once_more(
        &self,
        project: &mut Project<'_>,
        kernel: &Kernel,
        image: &Path,
        committed: &All,
        all: &mut All,
    ) -> Result<()> {
        for dom0 in &self.dom0 {
            let slower = self.slower(*dom0, committed, all);
            if slower.is_empty() {
                continue;
            }
            let whole: BTreeSet<_> = slower.iter().map(|name| table::whole(name)).collect();
            let filter = whole.into_iter().collect::<Vec<_>>().join(",");
            println!("{}, once more: {filter}", dom0.name().to_uppercase());
            let part = Part {
                dom0: *dom0,
                drivers: Drivers::Rust,
                mode: Mode::Bench,
                filter: Some(&filter),
            };
            let again = self.measure(project, kernel, image, &part)?;
            all.lower(*dom0, part.drivers, &again);
        }
        Ok(())
    }

    /// The operations that take more than they may.
    fn slower(&self, dom0: Dom0, committed: &All, found: &All) -> Vec<String> {
        let old = committed.of(dom0, Drivers::Rust).map(Figures::operations);
        let new = found.of(dom0, Drivers::Rust).map(Figures::operations);
        old.into_iter()
            .flatten()
            .filter(|(name, _)| table::wanted(self.filter.as_deref(), name))
            .filter(|(name, old)| {
                let new = new.and_then(|new| new.get(*name));
                new.map_or(false, |new| *new > **old * (1.0 + tolerance(name)))
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Says what has become slower and what faster; gives the exit status.
    fn compare(&self, committed: &All, found: &All) -> u8 {
        let mut slower = 0;
        for dom0 in &self.dom0 {
            let name = dom0.name().to_uppercase();
            let old = committed.of(*dom0, Drivers::Rust);
            let new = found.of(*dom0, Drivers::Rust);
            for (operation, old) in old.map_or(&Default::default(), Figures::operations) {
                if !table::wanted(self.filter.as_deref(), operation) {
                    continue;
                }
                let new = new.and_then(|new| new.operations().get(operation));
                match new {
                    None => {
                        println!("{name} {operation}: {old:.0} instructions, no longer measured");
                        slower += 1;
                    }
                    Some(new) if *new > old * (1.0 + tolerance(operation)) => {
                        println!(
                            "{name} {operation}: {old:.0} instructions, now {new:.0} ({:+.1} %)",
                            (new / old - 1.0) * 100.0
                        );
                        slower += 1;
                    }
                    Some(new) if *new < old * (1.0 - tolerance(operation)) => println!(
                        "{name} {operation}: {old:.0} instructions, now only {new:.0} \
                         (`make bench SAVE=1` keeps it so)"
                    ),
                    Some(_) => {}
                }
            }
        }
        println!(
            "{slower} operations have become slower by more than {:.0} %, or {:.0} % where ports are bound",
            TOLERANCE * 100.0,
            TOLERANCE_OF_PORTS * 100.0
        );
        u8::from(slower > 0)
    }
}

/// How much slower an operation may have become, of its figure.
fn tolerance(operation: &str) -> f64 {
    if OF_PORTS.iter().any(|name| operation.starts_with(name)) {
        TOLERANCE_OF_PORTS
    } else {
        TOLERANCE
    }
}

/// Adds the measuring program to dom0's image: an image may be several archives.
fn add_program(project: &Project<'_>, image: &Path, program: &Path) -> Result<PathBuf> {
    let mut more = Archive::default();
    more.copy(BENCH_INIT.trim_start_matches('/'), program)?;
    // A machine with one processor has none to choose.
    more.text(image::XL_CONFIGURATION, &image::xl_configuration(None));
    let path = project.places.build().join("bench/dom0.cpio");
    fs::copy(image, &path).with_context(|| format!("copying {}", image.display()))?;
    let mut file = File::options().append(true).open(&path)?;
    more.write(&mut file)?;
    Ok(path)
}
