// SPDX-License-Identifier: GPL-2.0

//! Making an operation often enough for a figure that repeats, and printing it.
//!
//! A sample is as many runs as last [`SAMPLE`]; the figure is the first quartile of the samples. So what happens in
//! every run or every few counts in full, and what happens once in a while (the timer's tick) does not count. The
//! median would count it where it comes about as often as a sample: of some operations of a few hundred instructions
//! half of the samples are a third longer, and the median is now this, now that.

use std::fs::{self, File};
use std::io::Write;
use std::time::Duration;

use xen_guest::sys::Result;
use xen_guest::{drivers, ktap};

use crate::clock::now;

/// How long a sample lasts, in virtual nanoseconds, unless a single run takes longer.
const SAMPLE: u64 = 200_000;
/// How many samples are taken, if they are short.
const SAMPLES: usize = 25;
/// How many samples are taken however long they are.
const LEAST_SAMPLES: usize = 3;
/// How long all samples of an operation may last, in virtual nanoseconds.
const BUDGET: u64 = 300_000_000;
/// A run that lasts this long, in virtual nanoseconds, is a figure on its own.
const LONG: u64 = 1_000_000_000;
/// How often an operation is made before a look from outside, so that caches are as when it is measured.
const REPEATS_UNSEEN: u64 = 50;
/// How long what an earlier operation left to be done later may take.
const SETTLE: Duration = Duration::from_millis(200);

/// The times of one run's parts.
#[derive(Debug, Default)]
pub struct Laps {
    parts: Vec<(&'static str, u64)>,
    overhead: u64,
}

impl Laps {
    /// Runs a part and adds the time it takes.
    #[inline(always)]
    pub fn time<R>(&mut self, part: &'static str, run: impl FnOnce() -> R) -> R {
        let start = now();
        let result = run();
        let end = now();
        self.add(part, (end - start).saturating_sub(self.overhead));
        result
    }

    #[inline(never)]
    fn add(&mut self, part: &'static str, time: u64) {
        match self.parts.iter_mut().find(|(name, _)| *name == part) {
            Some((_, sum)) => *sum += time,
            None => self.parts.push((part, time)),
        }
    }

    fn total(&self) -> u64 {
        self.parts.iter().map(|(_, time)| time).sum()
    }

    fn clear(&mut self) {
        self.parts.iter_mut().for_each(|(_, time)| *time = 0);
    }
}

/// Where the figures go.
#[derive(Debug)]
pub struct Report {
    out: File,
    filter: Option<String>,
    repeat: bool,
    overhead: u64,
    lines: usize,
}

impl Report {
    /// A report of all operations, or of those whose name matches a pattern. With `repeat` the first of them is made
    /// until the machine is stopped, for a look from outside.
    pub fn new(out: File, filter: Option<String>, repeat: bool) -> Self {
        Self {
            out,
            filter,
            repeat,
            overhead: lap_overhead(),
            lines: 0,
        }
    }

    /// How many lines have been printed.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Whether an operation is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|filter| {
            filter
                .split(',')
                .any(|pattern| ktap::matches(pattern, name))
        })
    }

    /// Measures an operation on `items` things; the figures are for each of them.
    ///
    /// If there is more than one part, each is printed as `name.part`, and their sum as `name`.
    pub fn measure(
        &mut self,
        name: &str,
        items: u64,
        mut run: impl FnMut(&mut Laps) -> Result<()>,
    ) {
        if !self.wants(name) {
            return;
        }
        // So that a long one is not taken for a hang.
        let _ = writeln!(self.out, "measuring {name}");
        self.settle();
        if self.repeat {
            self.repeat_forever(name, &mut run);
        }
        match sample(self.overhead, &mut run) {
            Ok(samples) => self.print_samples(name, items, &samples),
            Err(error) => self.line(format_args!(
                r#"{{"operation":"{name}","unsupported":"{error}"}}"#
            )),
        }
    }

    /// Says where the modules are, and makes an operation again and again.
    fn repeat_forever(&mut self, name: &str, run: &mut impl FnMut(&mut Laps) -> Result<()>) -> ! {
        for module in drivers::MODULES.iter().map(|module| module.kernel_name()) {
            for section in [".text", ".noinstr.text"] {
                let file = format!("/sys/module/{module}/sections/{section}");
                if let Ok(address) = fs::read_to_string(file) {
                    let _ = writeln!(self.out, "MODULE {module} {} {section}", address.trim());
                }
            }
        }
        let mut laps = Laps::default();
        for round in 0_u64.. {
            if round == REPEATS_UNSEEN {
                self.settle();
                let _ = writeln!(self.out, "repeating {name}");
                self.settle();
            }
            if let Err(error) = run(&mut laps) {
                panic!("{name}: {error}");
            }
        }
        unreachable!("the machine is stopped before")
    }

    /// Measures an operation that is one part.
    pub fn simple(&mut self, name: &str, items: u64, mut run: impl FnMut() -> Result<()>) {
        self.measure(name, items, |laps| laps.time("", &mut run));
    }

    /// Waits until the console has taken everything, and the kernel has freed what it frees later. Sleeping is free:
    /// the emulator's clock leaps over it.
    pub fn settle(&self) {
        std::thread::sleep(SETTLE);
    }

    /// Says that an operation cannot be measured.
    pub fn unsupported(&mut self, name: &str, reason: impl std::fmt::Display) {
        if self.wants(name) {
            self.line(format_args!(
                r#"{{"operation":"{name}","unsupported":"{reason}"}}"#
            ));
        }
    }

    /// Prints a line of JSON in one piece, so that the kernel's messages do not come between.
    pub fn line(&mut self, json: impl std::fmt::Display) {
        self.lines += 1;
        // A console that does not take the line leaves nobody to tell.
        let _ = self.out.write_all(format!("XEN-BENCH {json}\n").as_bytes());
    }

    fn print_samples(&mut self, name: &str, items: u64, samples: &Samples) {
        self.print_figure(
            name,
            items,
            samples.runs,
            samples.laps.iter().map(Laps::total).collect(),
        );
        let parts = samples
            .laps
            .first()
            .map(|laps| laps.parts.as_slice())
            .unwrap_or(&[]);
        if parts.len() < 2 {
            return;
        }
        for (i, (part, _)) in parts.iter().enumerate() {
            let times = samples
                .laps
                .iter()
                .filter_map(|laps| Some(laps.parts.get(i)?.1))
                .collect();
            self.print_figure(&format!("{name}.{part}"), items, samples.runs, times);
        }
    }

    fn print_figure(&mut self, name: &str, items: u64, runs: u64, mut times: Vec<u64>) {
        times.sort_unstable();
        let at = |quarter: usize| {
            times
                .get((times.len() - 1) * quarter / 4)
                .copied()
                .unwrap_or(0) as f64
        };
        let (low, high) = (at(1), at(3));
        let nanoseconds = low / (runs * items) as f64;
        let spread = if low > 0.0 { (high - low) / low } else { 0.0 };
        let count = times.len() as u64 * runs;
        self.line(format_args!(
            r#"{{"operation":"{name}","items":{items},"ns":{nanoseconds:.1},"instructions":{:.1},"spread":{spread:.5},"iterations":{count}}}"#,
            nanoseconds / 2.0,
        ));
    }
}

/// What an empty lap takes.
fn lap_overhead() -> u64 {
    let mut laps = Laps::default();
    let mut times: Vec<u64> = (0..101)
        .map(|_| {
            laps.clear();
            laps.time("", || std::hint::black_box(()));
            laps.total()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

struct Samples {
    laps: Vec<Laps>,
    runs: u64,
}

fn sample(overhead: u64, run: &mut impl FnMut(&mut Laps) -> Result<()>) -> Result<Samples> {
    let fresh = || Laps {
        parts: Vec::with_capacity(8),
        overhead,
    };
    // The first run fills caches, and tells how long one takes.
    let mut laps = fresh();
    run(&mut laps)?;
    let mut one = laps.total().max(1);
    if one >= LONG {
        // What it was the first to do is nothing to that.
        let laps = vec![laps];
        return Ok(Samples { laps, runs: 1 });
    }
    if one < SAMPLE {
        laps.clear();
        run(&mut laps)?;
        one = laps.total().max(1);
    }
    let runs = (SAMPLE / one).clamp(1, 4096);
    if runs > 1 {
        for _ in 0..runs {
            run(&mut laps)?;
        }
    }
    let count = ((BUDGET / (one * runs)) as usize).clamp(LEAST_SAMPLES, SAMPLES);
    let laps = (0..count)
        .map(|_| {
            let mut laps = fresh();
            (0..runs).try_for_each(|_| run(&mut laps))?;
            Ok(laps)
        })
        .collect::<Result<_>>()?;
    Ok(Samples { laps, runs })
}
