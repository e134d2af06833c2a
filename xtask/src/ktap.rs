// SPDX-License-Identifier: GPL-2.0

//! Reading KTAP version 1 (the kernel's Documentation/dev-tools/ktap.rst).

use std::fmt;

/// How one test went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// Tests counted by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// A level of nesting that is open.
#[derive(Debug)]
struct Level {
    indent: usize,
    planned: Option<u64>,
    results: u64,
}

/// Reads KTAP line by line among whatever else a console says.
#[derive(Debug, Default)]
pub struct Reader {
    levels: Vec<Level>,
    counts: Counts,
    failures: Vec<String>,
}

impl Reader {
    /// Takes a line; tells the outcome and name if it is a test's result.
    pub fn take(&mut self, line: &str) -> Option<(Outcome, String)> {
        let line = line.trim_end();
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.starts_with("KTAP version ") {
            self.close_above(indent);
            if self
                .levels
                .last()
                .map_or(false, |level| level.indent == indent)
            {
                // One document after another.
                self.close_last();
            }
            self.open(indent);
            return None;
        }
        if self.levels.is_empty() {
            return None;
        }
        if let Some(plan) = text.strip_prefix("1..") {
            let number = plan.split_whitespace().next().and_then(|n| n.parse().ok());
            self.close_above(indent);
            let level = self.open(indent);
            level.planned = number.or(level.planned);
            return None;
        }
        let (outcome, name) = result(text)?;
        let deeper = self
            .levels
            .last()
            .map_or(false, |level| level.indent > indent);
        self.close_above(indent);
        self.open(indent).results += 1;
        // A result after deeper ones only sums them up.
        if deeper {
            return None;
        }
        self.counts.count(outcome);
        if outcome == Outcome::Failed {
            self.failures.push(name.clone());
        }
        Some((outcome, name))
    }

    /// Ends the reading; gives the counts and what failed, unkept plans included.
    pub fn finish(mut self) -> (Counts, Vec<String>) {
        while !self.levels.is_empty() {
            self.close_last();
        }
        (self.counts, self.failures)
    }

    fn open(&mut self, indent: usize) -> &mut Level {
        if self
            .levels
            .last()
            .map_or(true, |level| level.indent < indent)
        {
            self.levels.push(Level {
                indent,
                planned: None,
                results: 0,
            });
        }
        self.levels
            .last_mut()
            .expect("one was pushed if there was none")
    }

    fn close_above(&mut self, indent: usize) {
        while self
            .levels
            .last()
            .map_or(false, |level| level.indent > indent)
        {
            self.close_last();
        }
    }

    fn close_last(&mut self) {
        if let Some(Level {
            planned: Some(planned),
            results,
            ..
        }) = self.levels.pop()
        {
            if planned != results {
                self.counts.failed += 1;
                self.failures.push(format!(
                    "{results} results where {planned} tests were planned"
                ));
            }
        }
    }
}

/// Reads `ok 1 - name # SKIP reason` and its like.
fn result(text: &str) -> Option<(Outcome, String)> {
    let (passed, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (result, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let (number, name) = result.trim().split_once(' ').unwrap_or((result.trim(), ""));
    number.parse::<u64>().ok()?;
    let name = name.trim().trim_start_matches("- ");
    let outcome = match (passed, directive.trim_start().starts_with("SKIP")) {
        (true, true) => Outcome::Skipped,
        (true, false) => Outcome::Passed,
        (false, _) => Outcome::Failed,
    };
    Some((outcome, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Counts, Vec<String>) {
        let mut reader = Reader::default();
        for line in text.lines() {
            reader.take(line);
        }
        reader.finish()
    }

    fn counts(passed: u64, failed: u64, skipped: u64) -> Counts {
        Counts {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn leaves_are_counted_and_their_sums_are_not() {
        let text = "\
[    1.0] something else
KTAP version 1
1..2
    KTAP version 1
    # Subtest: ring
    1..3
    ok 1 wraps
    # a message
    not ok 2 full
    ok 3 empty # SKIP not here
not ok 1 ring
  KTAP version 1
  1..1
    KTAP version 1
    1..1
    ok 1 - deep
  ok 1 middle
ok 2 nested
";
        let (counted, failures) = read(text);
        assert_eq!(counted, counts(2, 1, 1));
        assert_eq!(failures, ["full"]);
    }

    #[test]
    fn one_document_after_another() {
        let text = "KTAP version 1\n1..1\nok 1 a\nKTAP version 1\n1..2\nok 1 b\nok 2 c\n";
        assert_eq!(read(text), (counts(3, 0, 0), vec![]));
    }

    #[test]
    fn missing_results_are_a_failure() {
        let text = "KTAP version 1\n1..2\n  KTAP version 1\n  1..3\n  ok 1 a\n  ok 2 b\nok 1 s\n";
        let (counted, failures) = read(text);
        assert_eq!(counted, counts(2, 2, 0));
        assert_eq!(
            failures,
            [
                "2 results where 3 tests were planned",
                "1 results where 2 tests were planned"
            ]
        );
    }

    #[test]
    fn other_lines_are_not_results() {
        let text = "ok 1 before\nKTAP version 1\nok\nok then\nnot okay 1 x\n# ok 1 x\nok 1\n";
        assert_eq!(read(text), (counts(1, 0, 0), vec![]));
    }

    #[test]
    fn a_result_is_told_as_it_comes() {
        let mut reader = Reader::default();
        assert_eq!(reader.take("KTAP version 1"), None);
        assert_eq!(
            reader.take("ok 1 - name with spaces # SKIP reason"),
            Some((Outcome::Skipped, "name with spaces".to_owned()))
        );
    }
}
