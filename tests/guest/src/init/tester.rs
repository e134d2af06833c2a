// SPDX-License-Identifier: GPL-2.0

//! `mode=test`: every suite, what KUnit found, and how the kernel is after all of it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::boot::{self, Drivers, Words};
use crate::drivers::{Module, MODULES};
use crate::health::Health;
use crate::ktap::{line, Counts, Reader};
use crate::{daemons, drivers, suite, sys};

const KUNIT_MODULE: &str = "xen-kunit";
const KUNIT_RESULTS: &str = "/sys/kernel/debug/kunit";

/// Runs everything and counts. Without Xen underneath there is nothing to run but the drivers' refusal.
pub fn run(words: &Words) -> Counts {
    let drivers = words.drivers();
    line("KTAP version 1");
    line(format_args!(
        "# {} domain, Linux {}, {drivers:?} drivers",
        kind_name(),
        sys::kernel_release()
    ));
    let health = Health::now();
    let mut report = Report::default();
    if boot::kind().is_none() {
        line("1..2");
        report.entry("without_xen", without_xen());
        report.entry("kernel", all("kernel", &health.check()));
        return report.total;
    }
    line(format_args!("1..{}", 3 + suite::here().len()));
    report.entry("setup", set_up(drivers));
    report.entry("kunit", kunit());
    for suite in suite::here() {
        let counted = run_suite(suite.name, words.get("filter"));
        report.entry(suite.name, counted);
    }
    report.entry("kernel", all("kernel", &health.check()));
    report.total
}

fn kind_name() -> String {
    boot::kind().map_or_else(|| "no Xen".into(), |k| format!("{k:?}"))
}

#[derive(Default)]
struct Report {
    number: usize,
    total: Counts,
}

impl Report {
    fn entry(&mut self, name: &str, counts: Counts) {
        self.number += 1;
        self.total.add(counts);
        let verdict = if counts.failed == 0 { "ok" } else { "not ok" };
        line(format_args!("# {name}: {counts}"));
        line(format_args!("{verdict} {} {name}", self.number));
    }
}

/// Prints lines one level down and counts the results among them.
struct Nested(Reader);

impl Nested {
    fn begin(name: &str) -> Self {
        line("    KTAP version 1");
        line(format_args!("    # Subtest: {name}"));
        Self(Reader::default())
    }

    fn line(&mut self, text: &str) {
        self.0.take(text);
        if text != "KTAP version 1" {
            line(format_args!("    {text}"));
        }
    }

    /// A subtest that stopped before its end has failed.
    fn end(self) -> Counts {
        let mut counts = self.0.counts();
        if !self.0.is_complete() {
            line("    # stopped before its end");
            counts.failed += 1;
        }
        counts
    }
}

/// Loads the drivers, mounts, starts the daemons: each a result.
fn set_up(drivers: Drivers) -> Counts {
    let mut steps: Vec<(String, Result<(), String>)> = Vec::new();
    for module in drivers::of(drivers) {
        steps.push((
            format!("load_{}", module.kernel_name()),
            module.load(drivers),
        ));
    }
    steps.push(("load_xen_gntalloc".into(), drivers::load_gntalloc()));
    steps.push((
        "mount_xenfs".into(),
        sys::mount("none", "/proc/xen", "xenfs").map_err(|e| e.to_string()),
    ));
    steps.push(("start_daemons".into(), daemons::start(|_| {})));
    all("setup", &steps)
}

/// Each driver says that there is no such device, and is not loaded.
fn without_xen() -> Counts {
    let refused = |module: &Module| match drivers::modprobe(&[module.name]) {
        Err(error) if error.contains("No such device") && !module.is_loaded() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err("it was loaded".to_owned()),
    };
    let steps: Vec<_> = MODULES
        .iter()
        .map(|module| (format!("refuses_{}", module.kernel_name()), refused(module)))
        .collect();
    all("without_xen", &steps)
}

/// Prints the results of steps that have been made.
fn all<T: Display>(name: &str, steps: &[(T, Result<(), String>)]) -> Counts {
    let mut nested = Nested::begin(name);
    nested.line(&format!("1..{}", steps.len()));
    for (i, (step, result)) in steps.iter().enumerate() {
        match result {
            Ok(()) => nested.line(&format!("ok {} {step}", i + 1)),
            Err(error) => {
                error
                    .lines()
                    .for_each(|l| nested.line(&format!("# {step}: {l}")));
                nested.line(&format!("not ok {} {step}", i + 1));
            }
        }
    }
    nested.end()
}

fn kunit_suites() -> BTreeSet<String> {
    let entries = fs::read_dir(KUNIT_RESULTS).into_iter().flatten().flatten();
    entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Loads the KUnit module and passes on what its suites found.
fn kunit() -> Counts {
    let mut nested = Nested::begin("kunit");
    let before = kunit_suites();
    let loaded = drivers::modprobe(&[KUNIT_MODULE]);
    let suites: Vec<String> = kunit_suites().difference(&before).cloned().collect();
    let found = fs::exists(drivers::in_updates(KUNIT_MODULE));
    match loaded {
        Err(error) if found.unwrap_or(false) => {
            nested.line("1..1");
            nested.line(&format!("# {error}"));
            nested.line("not ok 1 load_xen_kunit");
            return nested.end();
        }
        Err(_) => {
            nested.line("1..1");
            nested.line("ok 1 load_xen_kunit # SKIP the image has no KUnit module");
            return nested.end();
        }
        Ok(()) => {}
    }
    if suites.is_empty() {
        nested.line("1..1");
        nested.line(&format!("# no results in {KUNIT_RESULTS}"));
        nested.line("not ok 1 kunit_results");
        return nested.end();
    }
    nested.line(&format!("1..{}", suites.len()));
    for suite in &suites {
        let text =
            fs::read_to_string(format!("{KUNIT_RESULTS}/{suite}/results")).unwrap_or_default();
        // The kernel's file begins with a plan of one of its own.
        text.lines()
            .filter(|l| !l.starts_with("KTAP") && !l.starts_with("1.."))
            .for_each(|l| nested.line(l));
    }
    nested.end()
}

/// Runs a suite as a process of its own.
fn run_suite(name: &str, filter: Option<&str>) -> Counts {
    let mut nested = Nested::begin(name);
    let child = Command::new("/proc/self/exe")
        .arg(name)
        .args(filter)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    match child {
        Err(error) => nested.line(&format!("# {error}")),
        Ok(mut child) => {
            if let Some(out) = child.stdout.take() {
                for text in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                    nested.line(&String::from_utf8_lossy(&text));
                }
            }
            let _ = child.wait();
        }
    }
    nested.end()
}
