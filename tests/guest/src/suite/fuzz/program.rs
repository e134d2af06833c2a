// SPDX-License-Identifier: GPL-2.0

//! Programs: what they are made of, how one is made from a number or from another, and their names.
//!
//! A program follows from its name alone. `57` is the program of number 57; `57.3.9` is what becomes of that by change
//! number 3, and then by change number 9. Only the order in which its threads come is not repeated.

use std::fmt::{self, Display};
use std::ops::Range;
use std::str::FromStr;

use super::chance::Chance;

/// The threads of a program.
pub const THREADS: usize = 3;
/// The most steps that a program has.
const MOST: usize = 2400;
/// The most changes that a name has.
const DEPTH: usize = 16;
/// Numbers of changes are below, to keep names short.
const CHANGES: usize = 1000;

/// A step. All about it follows from its number, whatever comes before and after, so that steps can be left out, moved
/// and repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which thread makes it.
    pub thread: usize,
    /// What it is.
    pub number: u32,
}

/// Steps, in the order in which each thread makes its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// The steps of all threads.
    pub steps: Vec<Step>,
}

impl Step {
    fn any(chance: &mut Chance) -> Self {
        Self {
            thread: chance.below(THREADS),
            number: chance.next() as u32,
        }
    }
}

impl Program {
    /// The program of a number.
    pub fn fresh(number: u64) -> Self {
        let mut chance = Chance::new(number);
        let length = chance.of(&[120, 480, 960, 960, 1440, 1920]);
        Self {
            steps: (0..length).map(|_| Step::any(&mut chance)).collect(),
        }
    }

    /// The steps of a thread.
    pub fn of_thread(&self, thread: usize) -> impl Iterator<Item = Step> + '_ {
        self.steps
            .iter()
            .copied()
            .filter(move |step| step.thread == thread)
    }

    /// The program without some of its steps.
    pub fn without(&self, part: Range<usize>) -> Self {
        let mut steps = self.steps.clone();
        let end = part.end.min(steps.len());
        steps.drain(part.start.min(end)..end);
        Self { steps }
    }

    /// What becomes of it by a change.
    fn changed(mut self, number: u32) -> Self {
        let mut chance = Chance::new(u64::from(number) ^ 0x6368_616e_6765);
        for _ in 0..chance.of(&[1, 1, 2, 4]) {
            self.change(&mut chance);
        }
        self.steps.truncate(MOST);
        self
    }

    fn change(&mut self, chance: &mut Chance) {
        let length = self.steps.len();
        let at = chance.below(length);
        let part = at..length.min(at + chance.of(&[1, 1, 2, 4, 16, 64]));
        match chance.below(8) {
            0 => {
                for step in &mut self.steps[part] {
                    *step = Step::any(chance);
                }
            }
            1 => {
                self.steps.drain(part);
            }
            2 => {
                let again = self.steps[part].to_vec();
                let times = chance.of(&[1, 1, 4]);
                let again = again.repeat(times);
                self.steps.splice(at..at, again);
            }
            3 | 4 => {
                let new: Vec<_> = part.map(|_| Step::any(chance)).collect();
                self.steps.splice(at..at, new);
            }
            5 => {
                let moved: Vec<_> = self.steps.drain(part).collect();
                let to = chance.below(self.steps.len() + 1);
                self.steps.splice(to..to, moved);
            }
            6 => {
                for step in &mut self.steps[part] {
                    step.thread = chance.below(THREADS);
                }
            }
            _ => {
                let other = Self::fresh(chance.next());
                let from = chance.below(other.steps.len());
                self.steps.truncate(at);
                self.steps.extend(&other.steps[from..]);
            }
        }
        if self.steps.is_empty() {
            self.steps.push(Step::any(chance));
        }
    }
}

/// As text: its thread and its number.
impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:08x}", self.thread, self.number)
    }
}

/// Reads a text of a step a line. What follows a `#` is a comment.
impl FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let step = |line: &str| -> Option<Step> {
            let (thread, number) = line.split_once(' ')?;
            Some(Step {
                thread: thread.parse().ok().filter(|&t| t < THREADS)?,
                number: u32::from_str_radix(number.trim(), 16).ok()?,
            })
        };
        let steps: Result<Vec<_>, _> = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or("").trim())
            .filter(|line| !line.is_empty())
            .map(|line| step(line).ok_or_else(|| format!("no step: {line:?}")))
            .collect();
        match steps? {
            steps if steps.is_empty() => Err("no steps".into()),
            steps => Ok(Self { steps }),
        }
    }
}

/// The name of a program: a number, and the numbers of the changes since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    number: u64,
    changes: Vec<u32>,
}

impl Name {
    /// The name of a number's program.
    pub fn new(number: u64) -> Self {
        Self {
            number,
            changes: Vec::new(),
        }
    }

    /// The number that it begins with.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The name of what becomes of it by some change, if it has not been changed too often.
    pub fn descendant(&self, chance: &mut Chance) -> Option<Self> {
        let mut name = self.clone();
        name.changes.push(chance.below(CHANGES) as u32);
        (name.changes.len() <= DEPTH).then_some(name)
    }

    /// The program.
    pub fn program(&self) -> Program {
        self.changes
            .iter()
            .fold(Program::fresh(self.number), |program, &change| {
                program.changed(change)
            })
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        self.changes
            .iter()
            .try_for_each(|change| write!(f, ".{change}"))
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no_name = || format!("no name of a program: {text:?}");
        let mut parts = text.split('.');
        let number = parts.next().and_then(|n| n.parse().ok());
        let changes: Result<Vec<_>, _> = parts.map(str::parse).collect();
        match (number, changes) {
            (Some(number), Ok(changes)) if changes.len() <= DEPTH => Ok(Self { number, changes }),
            _ => Err(no_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_follows_from_its_name() {
        for text in ["57", "57.3", "57.3.9.999"] {
            let name: Name = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(name.program(), name.program());
        }
        let programs: Vec<_> = ["57", "58", "57.3", "57.4", "57.3.9"]
            .iter()
            .map(|n| n.parse::<Name>().unwrap().program())
            .collect();
        for (i, program) in programs.iter().enumerate() {
            assert!(!programs[..i].contains(program), "{i}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "x", "1.", ".1", "1..2", "-1", "1.x", "1 2"] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
        let deep = format!("1{}", ".2".repeat(DEPTH + 1));
        assert!(deep.parse::<Name>().is_err());
    }

    #[test]
    fn descendants_are_bounded() {
        let mut chance = Chance::new(1);
        let mut name = Name::new(3);
        let mut depth = 0;
        while let Some(next) = name.descendant(&mut chance) {
            name = next;
            depth += 1;
            let steps = name.program().steps;
            assert!(!steps.is_empty() && steps.len() <= MOST);
            assert!(steps.iter().all(|s| s.thread < THREADS));
        }
        assert_eq!(depth, DEPTH);
    }

    #[test]
    fn any_change_of_the_shortest_program_has_steps() {
        let short = Program {
            steps: vec![Step {
                thread: 0,
                number: 1,
            }],
        };
        for number in 0..CHANGES as u32 {
            let steps = short.clone().changed(number).steps;
            assert!(!steps.is_empty() && steps.len() <= MOST, "{number}");
        }
    }

    #[test]
    fn text_of_a_program() {
        let program = Program::fresh(4);
        let line = |step: &Step| format!("{step}  # x # y\n\n# z");
        let text = program
            .steps
            .iter()
            .map(line)
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(text.parse(), Ok(program));
        for bad in ["", "# only\n", "0", "9 1", "0 x", "0 1 2", "0 123456789"] {
            assert!(bad.parse::<Program>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn programs_in_files() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../regressions");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(file.path()).unwrap();
            assert!(text.parse::<Program>().is_ok(), "{:?}", file.path());
        }
    }

    #[test]
    fn parts_are_left_out() {
        let program = Program::fresh(4);
        let length = program.steps.len();
        assert_eq!(program.without(0..length).steps, []);
        let less = program.without(1..3);
        assert_eq!(less.steps[0], program.steps[0]);
        assert_eq!(less.steps[1..], program.steps[3..]);
        assert_eq!(program.without(length..length + 4), program);
    }
}
