// SPDX-License-Identifier: GPL-2.0

//! Looking for a shorter program that harms the kernel as much as a given one.
//!
//! This end leaves a part of the program out, and another, and smaller ones. Each candidate is said before it runs, so
//! when the kernel dies of one, the other end (xtask, which boots anew) knows it, and goes on from there with what is
//! left of the program.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::program::Program;

/// A candidate: the program without this part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// How many steps are left out.
    pub size: usize,
    /// The first of them.
    pub start: usize,
}

impl Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.size, self.start)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('@').and_then(|(size, start)| {
            Some((size.parse().ok().filter(|&n| n > 0)?, start.parse().ok()?))
        });
        let (size, start) = numbers.ok_or_else(|| format!("no part of a program: {text:?}"))?;
        Ok(Self { size, start })
    }
}

impl Part {
    /// The candidate.
    pub fn left_out_of(self, program: &Program) -> Program {
        program.without(self.start..self.start.saturating_add(self.size))
    }

    /// The first that is to be tried from here on: this one, unless it is beyond the program's end, or all of it.
    pub fn or_later(self, program: &Program) -> Option<Self> {
        let steps = program.steps.len();
        let mut part = self;
        while part.start >= steps || part.size >= steps {
            if part.size == 1 {
                return None;
            }
            part = Self {
                size: (part.size / 2).clamp(1, steps.div_ceil(2).max(1)),
                start: 0,
            };
        }
        Some(part)
    }

    /// The one that follows if this one does no harm.
    pub fn next(self, program: &Program) -> Option<Self> {
        Self {
            size: self.size,
            start: self.start + self.size,
        }
        .or_later(program)
    }
}

#[cfg(test)]
mod tests {
    use super::super::program::Step;
    use super::*;

    /// Shrinks as both ends together do.
    fn shrunk(mut program: Program, harms: impl Fn(&Program) -> bool) -> Program {
        let mut part = Part {
            size: program.steps.len().div_ceil(2),
            start: 0,
        }
        .or_later(&program);
        while let Some(now) = part {
            let candidate = now.left_out_of(&program);
            if harms(&candidate) {
                program = candidate;
                part = now.or_later(&program);
            } else {
                part = now.next(&program);
            }
        }
        program
    }

    fn program(steps: usize) -> Program {
        let step = |number| Step {
            thread: 0,
            number: number as u32,
        };
        Program {
            steps: (0..steps).map(step).collect(),
        }
    }

    #[test]
    fn what_does_no_harm_is_left_out() {
        for wanted in [&[0][..], &[99], &[0, 99], &[3, 4, 50, 77]] {
            let harms = |program: &Program| {
                wanted
                    .iter()
                    .all(|&n| program.steps.iter().any(|s| s.number == n))
            };
            let found = shrunk(program(100), harms);
            let numbers: Vec<_> = found.steps.iter().map(|s| s.number).collect();
            assert_eq!(numbers, wanted);
        }
    }

    #[test]
    fn it_comes_to_an_end() {
        for steps in [1, 2, 3, 100] {
            let still = shrunk(program(steps), |_| false);
            assert_eq!(still.steps.len(), steps);
            assert_eq!(shrunk(program(steps), |_| true).steps.len(), 1);
        }
    }

    #[test]
    fn text_of_a_part() {
        let part = Part { size: 4, start: 12 };
        assert_eq!(part.to_string().parse(), Ok(part));
        for bad in ["", "4", "0@1", "@", "4@", "x@1"] {
            assert!(bad.parse::<Part>().is_err(), "{bad:?}");
        }
    }
}
