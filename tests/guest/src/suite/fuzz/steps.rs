// SPDX-License-Identifier: GPL-2.0

//! What a step does.
//!
//! Programs must not harm dom0 by what is the right of an open privcmd: they make no hypercalls that change anything, and
//! map neither this domain's memory nor the machine's.

mod evtchn;
mod file;
mod gntdev;
mod memory;
mod privcmd;
mod process;
mod system;

pub use process::SIGNAL;
pub use system::Settings;

use super::chance::Chance;
use super::program::Step;
use super::world::Hand;
use crate::sys;

impl Hand<'_> {
    /// Makes a step.
    pub fn step(&mut self, step: Step) -> sys::Result<()> {
        self.number = step.number;
        self.chance = Chance::new(step.number.into());
        match self.chance.below(80) {
            0..=6 => self.open(),
            7..=15 => self.arena(),
            16..=23 => self.file(),
            24..=37 => self.evtchn(),
            38..=57 => self.gntdev(),
            58..=75 => self.privcmd(),
            76..=78 => self.process(),
            _ => self.system(),
        }
    }
}
