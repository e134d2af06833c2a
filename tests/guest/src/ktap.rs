// SPDX-License-Identifier: GPL-2.0

//! Runs tests and says how they went, as KTAP version 1.
//!
//! Each test runs in a process of its own with a time limit, so that one that crashes or hangs is one failure.
//! After each, [`crate::resources`] must find the system as it was before.

use std::fmt::{self, Debug, Display};
use std::io::Write;
use std::panic::Location;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::boot::{Drivers, Words};
use crate::resources::Watch;
use crate::sys::{self, Child, Errno, Exit};
use crate::xen::Kind;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Failure {
    /// Something was not as it has to be.
    Failed(String),
    /// The test cannot be made here.
    Skipped(String),
}

/// What a test gives.
pub type TestResult<T = ()> = Result<T, Failure>;

impl Failure {
    #[track_caller]
    fn here(message: impl Display) -> Self {
        let at = Location::caller();
        Self::Failed(format!("{}:{}: {message}", at.file(), at.line()))
    }
}

impl From<Errno> for Failure {
    #[track_caller]
    fn from(error: Errno) -> Self {
        Self::here(format_args!("unexpected {error}"))
    }
}

impl From<std::io::Error> for Failure {
    #[track_caller]
    fn from(error: std::io::Error) -> Self {
        Self::here(format_args!("unexpected error: {error}"))
    }
}

/// Leaves the test because it cannot be made here.
pub fn skip<T>(reason: impl Display) -> TestResult<T> {
    Err(Failure::Skipped(reason.to_string()))
}

/// Fails the test.
#[track_caller]
pub fn fail<T>(message: impl Display) -> TestResult<T> {
    Err(Failure::here(message))
}

/// Fails the test unless something holds.
#[track_caller]
pub fn check(holds: bool, message: impl Display) -> TestResult {
    if holds {
        Ok(())
    } else {
        Err(Failure::here(message))
    }
}

/// Fails the test unless two values are the same.
#[track_caller]
pub fn equal<T: PartialEq + Debug>(found: T, expected: T, what: impl Display) -> TestResult {
    if found == expected {
        Ok(())
    } else {
        Err(Failure::here(format_args!(
            "{what}: found {found:?}, expected {expected:?}"
        )))
    }
}

/// For a call that has to be refused.
pub trait FailsWith {
    /// Fails the test unless the call failed with exactly this error.
    fn fails_with(self, errno: i32) -> TestResult;

    /// Fails the test unless the call failed with one of these errors: for input that is wrong in several ways, where
    /// it is left open which is found first.
    fn fails_with_any(self, errnos: &[i32]) -> TestResult;
}

impl<T: Debug> FailsWith for sys::Result<T> {
    #[track_caller]
    fn fails_with(self, errno: i32) -> TestResult {
        match self {
            Err(error) if error.0 == errno => Ok(()),
            Err(error) => Err(Failure::here(format_args!(
                "failed with {error}, expected {}",
                Errno(errno)
            ))),
            Ok(value) => Err(Failure::here(format_args!(
                "gave {value:?}, expected {}",
                Errno(errno)
            ))),
        }
    }

    #[track_caller]
    fn fails_with_any(self, errnos: &[i32]) -> TestResult {
        match self {
            Err(error) if errnos.contains(&error.0) => Ok(()),
            other => {
                let expected: Vec<_> = errnos.iter().map(|&e| Errno(e)).collect();
                Err(Failure::here(format_args!(
                    "gave {other:?}, expected one of {expected:?}"
                )))
            }
        }
    }
}

/// For what fails with a message.
pub trait OrFail<T> {
    /// Fails the test with the message.
    fn or_fail(self) -> TestResult<T>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self) -> TestResult<T> {
        match self {
            Ok(value) => Ok(value),
            Err(message) => Err(Failure::here(message)),
        }
    }
}

/// How the kernel's own drivers in C take a test.
#[derive(Clone, Copy, Debug)]
enum InC {
    /// As these drivers do.
    Same,
    /// Otherwise, but harmlessly.
    Differs(&'static str),
    /// So badly that it must not be tried.
    Breaks(&'static str),
}

/// A test.
#[derive(Debug)]
pub struct Test {
    name: &'static str,
    body: fn() -> TestResult,
    only: Option<Kind>,
    timeout: Duration,
    in_c: InC,
    in_c_only: Option<Kind>,
    watch: bool,
    long: Option<Option<Kind>>,
    clients: bool,
}

impl Test {
    /// A test with its name.
    pub const fn new(name: &'static str, body: fn() -> TestResult) -> Self {
        let timeout = Duration::from_secs(120);
        Self {
            name,
            body,
            only: None,
            timeout,
            in_c: InC::Same,
            in_c_only: None,
            watch: true,
            long: None,
            clients: false,
        }
    }

    /// The test makes sense in this kind of domain only.
    pub const fn only(mut self, kind: Kind) -> Self {
        self.only = Some(kind);
        self
    }

    /// The test may take this long.
    pub const fn seconds(mut self, seconds: u64) -> Self {
        self.timeout = Duration::from_secs(seconds);
        self
    }

    /// How long the test may take here: longer where it is made at full size.
    fn limit(&self) -> Duration {
        let times = if crate::boot::long() { 4 } else { 1 };
        self.timeout * times * crate::boot::slowness()
    }

    /// The C drivers are known to behave otherwise. There the test is made, and counts as skipped however it goes.
    pub const fn differs_in_c(mut self, reason: &'static str) -> Self {
        self.in_c = InC::Differs(reason);
        self
    }

    /// The C drivers leak, warn, hang or crash. There the test is not made.
    pub const fn breaks_c(mut self, reason: &'static str) -> Self {
        self.in_c = InC::Breaks(reason);
        self
    }

    /// What was said of the C drivers is true in this kind of domain only.
    pub const fn there(mut self, kind: Kind) -> Self {
        self.in_c_only = Some(kind);
        self
    }

    /// The test takes long, and is made only where tests may.
    pub const fn long(mut self) -> Self {
        self.long = Some(None);
        self
    }

    /// The same, in this kind of domain only: a translated one, where under emulation each frame of a guest takes
    /// longer to come and go, and a guest that is saved takes minutes.
    pub const fn long_in(mut self, kind: Kind) -> Self {
        self.long = Some(Some(kind));
        self
    }

    /// The test is left to `make test-clients`, though others of its suite are made elsewhere, too.
    pub const fn with_clients(mut self) -> Self {
        self.clients = true;
        self
    }

    /// The test changes what the check for leftovers compares.
    pub const fn unwatched(mut self) -> Self {
        self.watch = false;
        self
    }
}

/// Tests of one thing.
#[derive(Debug)]
pub struct Suite {
    /// Its name.
    pub name: &'static str,
    /// Its tests.
    pub tests: &'static [Test],
}

/// Results counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that were not made, or did not count.
    pub skipped: usize,
}

impl Counts {
    /// Adds others.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "passed={} failed={} skipped={}",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Writes a line to standard output in one piece, so that the kernel's messages do not come between.
pub fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    // A console that does not take the line leaves nobody to tell.
    let _ = out.write_all(format!("{text}\n").as_bytes());
    let _ = out.flush();
}

/// Whether a name matches a pattern in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|i| tail.get(i..).is_some_and(|t| matches(rest, t)))
        }),
    }
}

/// A test that takes longer says so, for whoever wonders where the time goes.
const LONG: Duration = Duration::from_secs(5);

/// Runs a suite's tests whose name, or `suite.name`, matches one of the filter's patterns, which commas separate.
pub fn run(suite: &Suite, filter: Option<&str>) -> ExitCode {
    let chosen = |test: &&Test| {
        let full = format!("{}.{}", suite.name, test.name);
        filter.is_none_or(|f| {
            f.split(',')
                .any(|f| matches(f, test.name) || matches(f, &full))
        })
    };
    let tests: Vec<&Test> = suite.tests.iter().filter(chosen).collect();
    let here = Here {
        drivers: Words::read().drivers(),
        kind: crate::boot::kind(),
    };
    line("KTAP version 1");
    line(format_args!("1..{}", tests.len()));
    let mut watch = Watch::start();
    let mut failed = false;
    for (i, test) in tests.iter().enumerate() {
        let begun = Instant::now();
        let outcome = here.judge(test, &mut watch);
        let took = begun.elapsed();
        if took > LONG {
            line(format_args!("# {} took {} s", test.name, took.as_secs()));
        }
        let (verdict, note) = match &outcome {
            Outcome::Passed => ("ok", String::new()),
            Outcome::Skipped(reason) => ("ok", format!(" # SKIP {reason}")),
            Outcome::Failed(_) => ("not ok", String::new()),
        };
        if let Outcome::Failed(message) = &outcome {
            failed = true;
            message
                .lines()
                .for_each(|l| line(format_args!("# {}: {l}", test.name)));
        }
        line(format_args!("{verdict} {} {}{note}", i + 1, test.name));
    }
    ExitCode::from(u8::from(failed))
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Where the tests run.
struct Here {
    drivers: Drivers,
    kind: Option<Kind>,
}

impl Here {
    fn judge(&self, test: &Test, watch: &mut Watch) -> Outcome {
        if let (Some(only), Some(kind)) = (test.only, self.kind) {
            if only != kind {
                return Outcome::Skipped(format!("not in a {kind:?} domain"));
            }
        }
        let long = |only: Option<Kind>| only.is_none() || only == self.kind;
        if test.long.is_some_and(long) && !crate::boot::long() {
            return Outcome::Skipped("takes long".into());
        }
        if test.clients && !crate::suite::with_clients() {
            return Outcome::Skipped("left to `make test-clients`".into());
        }
        let in_c = if test.in_c_only.is_none_or(|only| self.kind == Some(only)) {
            test.in_c
        } else {
            InC::Same
        };
        match (self.drivers, in_c) {
            (Drivers::C, InC::Breaks(reason)) => {
                Outcome::Skipped(format!("not tried on the C driver: {reason}"))
            }
            (Drivers::C, InC::Differs(reason)) => match perform(test, watch) {
                Outcome::Passed => {
                    Outcome::Skipped(format!("the C driver was expected to differ: {reason}"))
                }
                Outcome::Skipped(other) => Outcome::Skipped(other),
                Outcome::Failed(_) => Outcome::Skipped(format!("the C driver differs: {reason}")),
            },
            _ => perform(test, watch),
        }
    }
}

/// Runs a test in a process of its own and looks at what it left.
fn perform(test: &Test, watch: &mut Watch) -> Outcome {
    if test.watch {
        watch.before();
    }
    let outcome = in_child(test);
    let left = if test.watch {
        watch.after()
    } else {
        watch.kernel_reports()
    };
    if left.is_empty() {
        return outcome;
    }
    let mut message = match outcome {
        Outcome::Failed(message) => message + "\n",
        _ => String::new(),
    };
    message.push_str(&left.join("\n"));
    Outcome::Failed(message)
}

const PASSED: i32 = 0;
const FAILED: i32 = 1;
const SKIPPED: i32 = 2;

fn in_child(test: &Test) -> Outcome {
    let Ok((from_child, to_parent)) = sys::pipe() else {
        return Outcome::Failed("no pipe".into());
    };
    let child = Child::fork(|| {
        let report = |text: &str| {
            let _ = sys::write(&to_parent, text.as_bytes());
        };
        // The panic's message must reach the parent, not the middle of the console's output.
        let (panicked_read, panicked_write) = match sys::pipe() {
            Ok(ends) => ends,
            Err(_) => return FAILED,
        };
        std::panic::set_hook(Box::new(move |info| {
            let _ = sys::write(&panicked_write, info.to_string().as_bytes());
        }));
        match std::panic::catch_unwind(test.body) {
            Ok(Ok(())) => PASSED,
            Ok(Err(Failure::Failed(message))) => {
                report(&message);
                FAILED
            }
            Ok(Err(Failure::Skipped(reason))) => {
                report(&reason);
                SKIPPED
            }
            Err(_) => {
                let mut message = [0; 2048];
                let n = sys::read(&panicked_read, &mut message).unwrap_or(0);
                report(&String::from_utf8_lossy(&message[..n]));
                FAILED
            }
        }
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return Outcome::Failed(format!("fork: {error}")),
    };
    child.lead_group();
    let timeout = test.limit();
    let (pid, exit) = (child.pid(), child.wait_for(timeout));
    let Some(exit) = exit else {
        let stack = std::fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default();
        let mut message = format!("still running after {} s\n{stack}", timeout.as_secs());
        child.kill_group(libc::SIGKILL);
        if child.wait_for(Duration::from_secs(10)).is_none() {
            message.push_str("and cannot be killed");
            std::mem::forget(child);
        }
        return Outcome::Failed(message);
    };
    let mut message = [0; 4096];
    let text = |message: &mut [u8]| {
        let n = match sys::poll(&from_child, libc::POLLIN, Duration::ZERO) {
            Ok(events) if events & libc::POLLIN != 0 => {
                sys::read(&from_child, message).unwrap_or(0)
            }
            _ => 0,
        };
        String::from_utf8_lossy(&message[..n]).into_owned()
    };
    match exit {
        Exit::Status(PASSED) => Outcome::Passed,
        Exit::Status(SKIPPED) => Outcome::Skipped(text(&mut message)),
        Exit::Status(FAILED) => Outcome::Failed(text(&mut message)),
        Exit::Status(other) => Outcome::Failed(format!("left with status {other}")),
        Exit::Signal(signal) => Outcome::Failed(format!("killed by signal {signal}")),
    }
}

/// Reads KTAP as it comes, line by line, and counts the tests in it.
///
/// A result line that ends a `# Subtest:` sums up what has been counted already.
#[derive(Debug, Default)]
pub struct Reader {
    open: Vec<String>,
    counts: Counts,
    planned: Option<usize>,
    depth_results: usize,
}

impl Reader {
    /// Takes a line; true if it is the end of a subtest or a test that failed.
    pub fn take(&mut self, text: &str) {
        let text = text.trim();
        if let Some(name) = text.strip_prefix("# Subtest: ") {
            self.open.push(name.to_owned());
            return;
        }
        if let Some(count) = text.strip_prefix("1..") {
            if self.planned.is_none() {
                self.planned = count.split_whitespace().next().and_then(|c| c.parse().ok());
            }
            return;
        }
        let (passed, rest) = match (text.strip_prefix("ok "), text.strip_prefix("not ok ")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return,
        };
        let (result, note) = rest.split_once(" #").unwrap_or((rest, ""));
        let mut words = result.split_whitespace();
        if words.next().is_none_or(|n| n.parse::<usize>().is_err()) {
            return;
        }
        let name = words.next().unwrap_or("");
        if self.open.last().is_some_and(|open| open == name) {
            self.open.pop();
            return;
        }
        self.depth_results += 1;
        match (passed, note.trim_start().starts_with("SKIP")) {
            (true, true) => self.counts.skipped += 1,
            (true, false) => self.counts.passed += 1,
            (false, _) => self.counts.failed += 1,
        }
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether as many tests reported as the first plan said.
    pub fn is_complete(&self) -> bool {
        self.planned
            .is_some_and(|planned| self.depth_results >= planned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("*", "anything"));
        assert!(matches("bind_*", "bind_virq"));
        assert!(matches("*_virq", "bind_virq"));
        assert!(matches("evtchn.*_v*q", "evtchn.bind_virq"));
        assert!(!matches("bind", "bind_virq"));
        assert!(!matches("bind_*x", "bind_virq"));
    }

    #[test]
    fn counts_leaves_only() {
        let text = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: ring\n    1..3\n    ok 1 a\n    \
                    not ok 2 b\n    ok 3 c # SKIP later\n    # ring: pass:1\nnot ok 1 ring\n";
        let mut reader = Reader::default();
        text.lines().for_each(|l| reader.take(l));
        assert_eq!(
            reader.counts(),
            Counts {
                passed: 1,
                failed: 1,
                skipped: 1
            }
        );
        assert!(reader.is_complete());
    }

    #[test]
    fn notices_a_missing_end() {
        let mut reader = Reader::default();
        "KTAP version 1\n1..3\nok 1 a\nok 2 b"
            .lines()
            .for_each(|l| reader.take(l));
        assert!(!reader.is_complete());
    }

    #[test]
    fn other_lines_are_not_results() {
        let mut reader = Reader::default();
        ["ok", "ok then", "not okay 1 x", "# ok 1 x"]
            .iter()
            .for_each(|l| reader.take(l));
        assert_eq!(reader.counts(), Counts::default());
    }
}
