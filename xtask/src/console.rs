// SPDX-License-Identifier: GPL-2.0

//! Watching a guest's console: results, the verdict, and signs that the kernel is unwell.

use std::mem;

use crate::ktap::{Counts, Outcome, Reader};

/// What a guest's first process says last.
const VERDICT: &str = "XEN-RUST-VERDICT ";

/// What the kernel says only when something is wrong, wherever it is in a line.
const ALARMS: &[&str] = &[
    "BUG:",
    CALL_TRACE,
    "Kernel panic",
    "Oops:",
    "Xen BUG",
    "Xen call trace",
    "general protection fault",
    "kernel BUG at",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
    "refcount_t:",
    "UBSAN:",
    "KASAN:",
    "ODEBUG:",
    "self-detected stall",
    "detected stalls on CPUs",
    "suspicious RCU usage",
    "new suspected memory leaks",
    "unreferenced object",
];

/// What Linux as a PV dom0 says while it starts, each time with a call trace, and what is no fault of
/// a driver's.
const EXCUSES: &[&str] = &[
    // Registers that Xen does not let it read.
    "unchecked MSR access error",
    // A task that begins is resumed and was never paused. Only CONFIG_DEBUG_VM looks, and says so once.
    "WARNING: at xen_start_context_switch+",
    "WARNING: at xen_end_context_switch+",
];

const CALL_TRACE: &str = "Call Trace:";

/// Those that other programs say, too: they count at the start of a kernel's message.
const KERNEL_ALARMS: &[&str] = &[
    "WARNING:",
    // Of the allocator, which goes on with a cache.
    "BUG ",
    "INFO: task ",
    "INFO: rcu",
    "INFO: trying to register non-static key",
    "pagealloc: ",
    "kmemleak: Kernel memory leak detector disabled",
];

/// How many lines before and after an alarm are shown.
const BEFORE: usize = 5;
const AFTER: usize = 40;

/// What Xen's own lines begin with. It writes them whenever it likes, in the midst of dom0's, too.
const XEN: &str = "(XEN) ";

/// A console as it is being read.
#[derive(Default)]
pub struct Console {
    /// The beginning of a line of dom0's that Xen has cut.
    cut: String,
    lines: Vec<String>,
    ktap: Reader,
    verdicts: Vec<Option<Counts>>,
    alarms: Vec<usize>,
    /// Whether the next call trace is one that means nothing.
    excused: bool,
}

/// How a guest did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub counts: Counts,
    /// The tests that failed, by name.
    pub failures: Vec<String>,
    /// What else went wrong: each makes one more failure.
    pub problems: Vec<String>,
    /// The lines of the console that show it.
    pub evidence: Vec<String>,
}

impl Verdict {
    /// Passed and failed, with problems counted as failures.
    pub fn totals(&self) -> (u64, u64) {
        (
            self.counts.passed,
            self.counts.failed + self.problems.len() as u64,
        )
    }
}

impl Console {
    /// Takes a line; tells a test's result if it is one.
    pub fn take(&mut self, line: &str) -> Option<(Outcome, String)> {
        let line = line.trim_end_matches(['\r', '\n']);
        let line = match line.find(XEN) {
            Some(at) => {
                self.cut.push_str(&line[..at]);
                line[at..].to_owned()
            }
            None => mem::take(&mut self.cut) + line,
        };
        if EXCUSES.iter().any(|excuse| line.contains(excuse)) {
            self.excused = true;
        } else if self.excused && line.contains(CALL_TRACE) {
            self.excused = false;
        } else if is_alarm(&line) {
            self.alarms.push(self.lines.len());
        }
        if let Some(at) = line.find(VERDICT) {
            self.verdicts.push(verdict(&line[at + VERDICT.len()..]));
        }
        let result = self.ktap.take(&line);
        self.lines.push(line);
        result
    }

    /// Judges what was read. `stopped` says why the reading ended, if not by the guest's own end.
    pub fn judge(mut self, stopped: Option<String>) -> Verdict {
        if !self.cut.is_empty() {
            self.take("");
        }
        let mut problems = Vec::new();
        problems.extend(stopped);
        if let Some(first) = self.alarms.first() {
            let more = match self.alarms.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more such lines)"),
            };
            let line = self.lines[*first].trim();
            problems.push(format!("the console shows: {line}{more}"));
        }
        let (read, failures) = self.ktap.finish();
        let counts = match self.verdicts.as_slice() {
            [Some(counts)] => {
                if read != Counts::default() && read != *counts {
                    problems.push(format!(
                        "the verdict says {counts} but the results say {read}"
                    ));
                }
                *counts
            }
            [] => {
                problems.push("the guest stopped before its verdict".to_owned());
                read
            }
            [None] => {
                problems.push("the verdict cannot be read".to_owned());
                read
            }
            more => {
                problems.push(format!("the guest gave {} verdicts", more.len()));
                read
            }
        };
        let evidence = match (self.alarms.first(), problems.is_empty()) {
            (_, true) => &[],
            (Some(alarm), _) => {
                let end = self.lines.len().min(alarm + AFTER);
                &self.lines[alarm.saturating_sub(BEFORE)..end]
            }
            (None, _) => &self.lines[self.lines.len().saturating_sub(AFTER)..],
        };
        Verdict {
            counts,
            failures,
            problems,
            evidence: evidence.to_vec(),
        }
    }
}

fn is_alarm(line: &str) -> bool {
    if ALARMS.iter().any(|alarm| line.contains(alarm)) {
        return true;
    }
    if line.contains("(XEN) Panic") {
        return true;
    }
    kernel_message(line).map_or(false, |text| {
        KERNEL_ALARMS.iter().any(|alarm| text.starts_with(alarm))
    })
}

/// The text of a kernel's message: what follows `[    1.234567] `.
fn kernel_message(line: &str) -> Option<&str> {
    let (stamp, text) = line.split_once("] ")?;
    let (_, time) = stamp.rsplit_once('[')?;
    let number = time.trim_start();
    let is_time = number.contains('.') && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    is_time.then(|| text.trim_start())
}

fn verdict(text: &str) -> Option<Counts> {
    let mut counts = Counts::default();
    let mut seen = 0;
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=')?;
        let value = value.parse().ok()?;
        match name {
            "passed" => counts.passed = value,
            "failed" => counts.failed = value,
            "skipped" => counts.skipped = value,
            _ => return None,
        }
        seen += 1;
    }
    (seen == 3).then_some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "XEN-RUST-VERDICT passed=1 failed=0 skipped=0";

    fn judge(lines: &[&str], stopped: Option<&str>) -> Verdict {
        let mut console = Console::default();
        for line in lines {
            console.take(line);
        }
        console.judge(stopped.map(str::to_owned))
    }

    #[test]
    fn a_good_run() {
        let verdict = judge(&["KTAP version 1\r", "1..1\r", "ok 1 a\r", GOOD], None);
        assert_eq!(verdict.totals(), (1, 0));
        assert!(verdict.problems.is_empty() && verdict.evidence.is_empty());
    }

    #[test]
    fn xen_cuts_a_line() {
        let lines = [
            "KTAP version 1",
            "1.(XEN) uart interrupt taking more than 4ms\r",
            "(XEN) switched to polling\r",
            ".2",
            "ok 1 a",
            "ok(XEN) d1v0 \r",
            " 2 b",
            "XEN-RUST-VERDICT passed=2 failed=0 skipped=0",
        ];
        let verdict = judge(&lines, None);
        assert_eq!((verdict.totals(), verdict.problems), ((2, 0), vec![]));
        // Nor is what was cut last forgotten.
        let verdict = judge(
            &["KTAP version 1", "1..1", "ok 1 a", &format!("{GOOD}(XEN) ")],
            None,
        );
        assert_eq!(verdict.totals(), (1, 0));
    }

    #[test]
    fn one_verdict_is_wanted() {
        for lines in [&[][..], &[GOOD, GOOD], &["XEN-RUST-VERDICT passed=1"]] {
            let verdict = judge(lines, None);
            assert_eq!(verdict.problems.len(), 1, "{lines:?}");
            assert_eq!(verdict.totals().1, 1);
        }
    }

    #[test]
    fn a_verdict_has_to_agree_with_the_results() {
        let verdict = judge(&["KTAP version 1", "1..1", "not ok 1 a", GOOD], None);
        assert_eq!(verdict.failures, ["a"]);
        assert_eq!(verdict.totals(), (1, 1));
    }

    #[test]
    fn alarms_are_failures_and_shown() {
        for alarm in [
            "[   12.345678] WARNING: drivers/xen/x.c:1 at f+0x1/0x2, CPU#0: a/1",
            "[   12.345678] BUG: unable to handle page fault for address: 0",
            "[    1.0] Kernel panic - not syncing: x",
            "(XEN) Panic on CPU 0:",
            "(XEN) Xen BUG at mm.c:1",
            "[   62.1] INFO: task xl:12 blocked for more than 10 seconds.",
            "[  6.5] rcu: INFO: rcu_sched self-detected stall on CPU",
            "pv| [    1.5] WARNING: CPU: 0 PID: 1 at x",
            "[   62.1] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "[   62.1] BUG: KFENCE: out-of-bounds read in f+0x1/0x2",
            "[   62.1] UBSAN: array-index-out-of-bounds in drivers/xen/x.c:1:2",
            "[   62.1] WARNING: possible circular locking dependency detected",
            "[   62.1] [ BUG: Invalid wait context ]",
            "[   62.1] BUG: sleeping function called from invalid context at x.c:1",
            "[   62.1] BUG kmalloc-64 (Tainted: G           O       ): Poison overwritten",
            "[   62.1] ODEBUG: free active (active state 0) object: 0 object type: work_struct",
            "[   62.1] INFO: trying to register non-static key.",
            "[   62.1] kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "    # no_leak: unreferenced object 0xffff888003a0c2a0 (size 32):",
        ] {
            let verdict = judge(&["before", alarm, "after", GOOD], None);
            assert_eq!(verdict.problems.len(), 1, "{alarm}");
            assert_eq!(verdict.evidence[..3], ["before", alarm, "after"]);
        }
    }

    #[test]
    fn harmless_lines_are_no_alarms() {
        for line in [
            "(XEN) *** WARNING: HVM FORCED EMULATION PREFIX IS AVAILABLE ***",
            "xl: WARNING: something an administrator may read",
            "[    1.0] Spectre V2 : WARNING mentioned elsewhere",
            "[    1.0] ACPI: DEBUG on",
            "[    1.0] kmemleak: Kernel memory leak detector initialized (mem pool available: 1)",
            "[    1.0] kasan: KernelAddressSanitizer initialized (generic)",
            "ok 3 warns_without_WARNING",
        ] {
            assert!(!is_alarm(line), "{line}");
        }
    }

    #[test]
    fn what_a_pv_dom0_says_excuses_one_call_trace() {
        let trace = "[    1.0] Call Trace:";
        for excuse in [
            "[    1.0] unchecked MSR access error: RDMSR from 0xc0010055 at rIP: 0x1 (f+0x1/0x2)",
            "[    1.0] WARNING: at xen_end_context_switch+0x1/0x2, CPU#0: swapper/0/0",
            "[    1.0] WARNING: at xen_start_context_switch+0x1/0x2, CPU#0: swapper/0/1",
        ] {
            assert!(judge(&[excuse, trace, GOOD], None).problems.is_empty());
            assert_eq!(judge(&[excuse, trace, trace, GOOD], None).problems.len(), 1);
        }
        for alarm in [
            trace,
            "[    1.0] BUG: KASAN: use-after-free at xen_end_context_switch+0x1/0x2",
        ] {
            assert_eq!(judge(&[alarm, GOOD], None).problems.len(), 1);
        }
    }

    #[test]
    fn a_hang_is_a_failure_with_the_last_lines() {
        let verdict = judge(&["a", "b"], Some("no output for 60 s"));
        assert_eq!(
            verdict.problems,
            ["no output for 60 s", "the guest stopped before its verdict"]
        );
        assert_eq!(verdict.evidence, ["a", "b"]);
    }
}
