// SPDX-License-Identifier: GPL-2.0

//! The interrupts of event channels, as `/proc/interrupts` tells of them.

use std::fs;

use crate::sys;

/// Those of files on which this process binds its first port from now on.
#[derive(Debug)]
pub struct Interrupts {
    name: String,
}

impl Interrupts {
    /// Names this process, at most 15 bytes, and with it the interrupts.
    pub fn named(name: &str) -> sys::Result<Self> {
        sys::name_thread(name)?;
        Ok(Self {
            name: format!("evtchn:{name}"),
        })
    }

    /// Number and line of each.
    fn lines(&self) -> sys::Result<Vec<(u32, String)>> {
        let text = fs::read_to_string("/proc/interrupts")?;
        let ours = |line: &str| {
            let (number, rest) = line.split_once(':')?;
            let number = number.trim().parse().ok()?;
            let name = rest.split_whitespace().last()?;
            (name == self.name).then(|| (number, rest.to_owned()))
        };
        Ok(text.lines().filter_map(ours).collect())
    }

    /// How many there were so far, on all CPUs.
    pub fn count(&self) -> sys::Result<u64> {
        let of_line = |(_, line): (u32, String)| -> u64 {
            line.split_whitespace()
                .map_while(|word| word.parse::<u64>().ok())
                .sum()
        };
        Ok(self.lines()?.into_iter().map(of_line).sum())
    }

    /// Has one CPU take them.
    pub fn to_cpu(&self, cpu: u32) -> sys::Result<()> {
        for (number, _) in self.lines()? {
            fs::write(
                format!("/proc/irq/{number}/smp_affinity"),
                format!("{:x}", 1 << cpu),
            )?;
        }
        Ok(())
    }
}
