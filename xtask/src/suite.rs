// SPDX-License-Identifier: GPL-2.0

//! `make test`: the tests that run on the host, then those that run in booted guests.

use std::time::Instant;

use anyhow::Result;

use crate::check;
use crate::clients;
use crate::error;
use crate::forgotten;
use crate::fuzz;
use crate::guest;
use crate::image;
use crate::kernel::Kernel;
use crate::ktap::Outcome;
use crate::lane::{Dom0, Drivers, Lane};
use crate::modules;
use crate::project::Project;
use crate::qemu::{Boot, Mode, Programs};
use crate::tool;

/// Tests that cargo runs on the host.
struct HostTests {
    name: &'static str,
    folder: &'static str,
    rustflags: Option<&'static str>,
    release: bool,
}

const HOST_TESTS: &[HostTests] = &[
    HostTests {
        name: "xtask",
        folder: "xtask",
        rustflags: None,
        release: false,
    },
    HostTests {
        name: "guest-programs",
        folder: guest::FOLDER,
        rustflags: None,
        release: false,
    },
    HostTests {
        name: "pure-logic",
        folder: "tests/host",
        rustflags: None,
        release: false,
    },
    HostTests {
        name: "pure-logic-loom",
        folder: "tests/host",
        rustflags: Some("--cfg loom"),
        release: true,
    },
    HostTests {
        name: "status",
        folder: check::STATUS,
        rustflags: None,
        release: false,
    },
];

/// Which tests to run.
pub struct Selection {
    pub lane: Lane,
    pub dom0: Vec<Dom0>,
    pub drivers: Vec<Drivers>,
    /// Only guest tests of these names.
    pub filter: Option<String>,
    /// Give the guest tests the time to show all that they can.
    pub long: bool,
    /// How many programs made by chance, if that is to be chosen.
    pub programs: Option<Programs>,
    /// In how many boots the shortest is looked for when one has done harm.
    pub boots: u32,
    /// The tests of other people's programs instead, in an image that has those.
    pub clients: bool,
}

/// What has been counted so far.
#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
}

/// Runs the tests; gives the exit status. The last line on standard output is the verdict.
pub fn run(project: &mut Project<'_>, selection: &Selection) -> Result<u8> {
    let mut totals = Totals::default();
    if let Err(error) = run_all(project, selection, &mut totals) {
        let (line, status) = error::report(&error);
        if status == error::EXIT_SURROUNDINGS {
            return Err(error);
        }
        // What does not build has failed its tests.
        println!("error: {line}");
        totals.failed += 1;
    }
    println!("{} passed, {} failed", totals.passed, totals.failed);
    Ok(u8::from(totals.failed > 0 || totals.passed == 0))
}

fn run_all(project: &mut Project<'_>, selection: &Selection, totals: &mut Totals) -> Result<()> {
    let (kernel, modules) = modules::for_lane(project, selection.lane)?;
    let guest = guest::build(project)?;
    let mut image = image::dom0(project, &kernel, &modules, &guest)?;
    if selection.clients {
        image = clients::add(project, selection.lane, &image)?;
    }
    let with_host = selection.filter.is_none() && !selection.clients && selection.lane.is_plain();
    if with_host && selection.drivers.contains(&Drivers::Rust) {
        for tests in HOST_TESTS {
            on_host(project, tests, totals)?;
        }
        requests_that_forgot(project, &kernel, totals)?;
    }
    project.release();
    let boot = |dom0, drivers| Boot {
        lane: selection.lane,
        vmlinuz: kernel.vmlinuz.clone(),
        image: image.clone(),
        dom0,
        drivers,
        mode: Mode::Test,
        filter: selection.filter.as_deref(),
        long: selection.long,
        programs: selection.programs.clone(),
        clients: selection.clients,
    };
    if with_host && selection.drivers.contains(&Drivers::Rust) {
        in_guest(project, &boot(None, Drivers::Rust), totals)?;
    }
    for drivers in &selection.drivers {
        for dom0 in &selection.dom0 {
            let boot = boot(Some(*dom0), *drivers);
            let before = totals.failed;
            in_guest(project, &boot, totals)?;
            if totals.failed > before && selection.boots > 0 {
                let log = project.places.log(selection.lane, &machine(&boot));
                fuzz::shrink(project, &boot, &log, selection.boots)?;
            }
        }
    }
    Ok(())
}

fn on_host(project: &Project<'_>, tests: &HostTests, totals: &mut Totals) -> Result<()> {
    let folder = project.places.repo.join(tests.folder);
    if !folder.exists() {
        return Ok(());
    }
    let target = project.places.build().join("host").join(tests.name);
    let log = target.join("test.log");
    let step = project
        .progress
        .step(format!("host tests: {}", tests.name), "compiling");
    let mut cargo = project.tools.command("cargo", &folder);
    cargo
        .args(["test", "--locked", "--no-fail-fast", "--target-dir"])
        .arg(&target);
    if tests.release {
        cargo.arg("--release");
    }
    if let Some(flags) = tests.rustflags {
        cargo.env("RUSTFLAGS", flags);
    }
    let mut counted = Totals::default();
    let ran = tool::watch(&mut cargo, &step, Some(&log), |line| {
        if let Some((passed, failed)) = cargo_result(line) {
            counted.passed += passed;
            counted.failed += failed;
        }
    })?;
    if ran.success {
        step.done();
    } else {
        drop(step);
        tool::explain_cargo(&ran)?;
        println!("host tests {} failed:", tests.name);
        for line in &ran.tail {
            println!("    {line}");
        }
        println!("    (all of it: {})", log.display());
        // Not even compiled is a failure, too.
        counted.failed = counted.failed.max(1);
    }
    println!(
        "host tests {}: {} passed, {} failed",
        tests.name, counted.passed, counted.failed
    );
    totals.passed += counted.passed;
    totals.failed += counted.failed;
    Ok(())
}

/// What must not compile.
fn requests_that_forgot(project: &Project<'_>, kernel: &Kernel, totals: &mut Totals) -> Result<()> {
    let outcome = forgotten::run(project, kernel)?;
    let failed = outcome.wrong.len() as u64;
    println!(
        "requests that forgot to ask: {} passed, {failed} failed",
        outcome.refused
    );
    for wrong in &outcome.wrong {
        println!("    {wrong}");
    }
    totals.passed += outcome.refused;
    totals.failed += failed;
    Ok(())
}

/// Reads `test result: ok. 12 passed; 0 failed; ...`.
fn cargo_result(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = counts
        .split("; ")
        .map(|part| part.split(' ').next()?.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// What the machine that is booted is called.
fn machine(boot: &Boot<'_>) -> String {
    let dom0 = boot.dom0.map_or("bare", |dom0| dom0.name());
    format!("{dom0}-{}", boot.drivers.name())
}

fn in_guest(project: &Project<'_>, boot: &Boot<'_>, totals: &mut Totals) -> Result<()> {
    let lane = boot.lane;
    let doing = match boot.dom0 {
        Some(_) => "booting Xen and dom0 in QEMU",
        None => "booting without Xen in QEMU",
    };
    let machine = machine(boot);
    let name = format!("{}-{machine}", lane.name());
    let log = project.places.log(lane, &machine);
    let step = project.progress.step(format!("guest tests {name}"), doing);
    let started = Instant::now();
    let verdict = boot.watch(project, &log, |line, result| match result {
        Some((Outcome::Failed, test)) => project.progress.note(&format!("    failed: {test}")),
        Some((_, test)) => step.says(&test),
        None => step.says(line),
    })?;
    let (passed, failed) = verdict.totals();
    if failed == 0 {
        step.done();
    } else {
        drop(step);
    }
    println!(
        "guest tests {name}: {} ({} s)",
        verdict.counts,
        started.elapsed().as_secs()
    );
    for problem in &verdict.problems {
        println!("    {problem}");
    }
    for failure in &verdict.failures {
        println!("    failed: {failure}");
    }
    if failed > 0 {
        for line in &verdict.evidence {
            println!("    | {line}");
        }
        println!("    (the whole console: {})", log.display());
    }
    totals.passed += passed;
    totals.failed += failed;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cargo_s_results() {
        let good = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; x";
        assert_eq!(cargo_result(good), Some((12, 0)));
        let bad = "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(cargo_result(bad), Some((3, 2)));
        assert_eq!(cargo_result("running 3 tests"), None);
    }
}
