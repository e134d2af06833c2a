// SPDX-License-Identifier: GPL-2.0

//! Progress: each long step says what it waits for and how long it took.
//!
//! On a terminal a step is a spinner with its latest line; elsewhere (a CI log) it is plain lines,
//! one at the start, one at the end, and one a minute in between so that nobody thinks it hangs.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

const HEARTBEAT: Duration = Duration::from_secs(60);

/// Where steps are shown.
pub struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    pub fn new() -> Self {
        let terminal = nix::unistd::isatty(nix::libc::STDERR_FILENO).unwrap_or(false);
        Self {
            bars: terminal.then(MultiProgress::new),
        }
    }

    /// Starts a step: `what` names it, `waits_for` says what takes the time.
    pub fn step(&self, what: impl Into<String>, waits_for: &str) -> Step {
        let what = what.into();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar.set_prefix(what.clone());
            bar.set_message(waits_for.to_owned());
            bar.enable_steady_tick(Duration::from_millis(150));
            bar
        });
        if bar.is_none() {
            eprintln!("[ .... ] {what}: {waits_for}");
        }
        Step {
            what,
            started: Instant::now(),
            last_beat: Cell::new(Instant::now()),
            bar,
            finished: false,
        }
    }

    /// Prints one line that stays.
    pub fn note(&self, text: &str) {
        match &self.bars {
            // A failure to draw a note is no reason to stop.
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }
}

/// A step that is under way. Dropped without [`Step::done`], it is shown as failed.
pub struct Step {
    what: String,
    started: Instant,
    last_beat: Cell<Instant>,
    bar: Option<ProgressBar>,
    finished: bool,
}

impl Step {
    /// Shows the latest thing the step said.
    pub fn says(&self, line: &str) {
        let line = line.trim();
        match &self.bar {
            Some(bar) => bar.set_message(line.to_owned()),
            None if self.last_beat.get().elapsed() >= HEARTBEAT => {
                self.last_beat.set(Instant::now());
                eprintln!("[ {:>3}s ] {}: {line}", self.seconds(), self.what);
            }
            None => {}
        }
    }

    fn seconds(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Ends the step and says how long it took.
    pub fn done(mut self) {
        self.finished = true;
        self.end("done");
    }

    fn end(&self, how: &str) {
        let line = format!("[ {how} ] {} ({} s)", self.what, self.seconds());
        match &self.bar {
            Some(bar) => {
                bar.println(line);
                bar.finish_and_clear();
            }
            None => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.finished {
            self.end("FAIL");
        }
    }
}
