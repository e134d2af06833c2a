// SPDX-License-Identifier: GPL-2.0

//! `make run` and `make shell`: Debian's kernel and toolstack on our drivers.

use std::io::Write;

use anyhow::Result;

use crate::clients;
use crate::guest;
use crate::image;
use crate::lane::{Dom0, Drivers, Lane};
use crate::modules;
use crate::project::Project;
use crate::qemu::{Boot, Mode};

/// What to boot.
pub struct Demo {
    pub lane: Lane,
    pub dom0: Dom0,
    pub drivers: Drivers,
    pub mode: Mode,
    /// With the clients' image.
    pub clients: bool,
}

impl Demo {
    /// Boots it, the console on the terminal; gives the exit status.
    pub fn run(&self, project: &mut Project<'_>) -> Result<u8> {
        let (kernel, modules) = modules::for_lane(project, self.lane)?;
        let guest = guest::build(project)?;
        let mut image = image::dom0(project, &kernel, &modules, &guest)?;
        if self.clients {
            image = clients::add(project, self.lane, &image)?;
        }
        let boot = Boot {
            lane: self.lane,
            image,
            vmlinuz: kernel.vmlinuz,
            dom0: Some(self.dom0),
            drivers: self.drivers,
            mode: self.mode,
            filter: None,
            long: false,
            programs: None,
            clients: self.clients,
        };
        project.release();
        project.progress.note(&format!(
            "booting Xen and Linux {} as a {} dom0 in QEMU",
            kernel.release,
            self.dom0.name().to_uppercase()
        ));
        if self.mode == Mode::Shell {
            project.progress.note("Ctrl-A X leaves");
            boot.interact(project)?;
            return Ok(0);
        }
        let name = format!("run-{}-{}", self.dom0.name(), self.drivers.name());
        let log = project.places.log(self.lane, &name);
        let verdict = boot.watch(project, &log, |line, _| {
            // A reader who left does not end the run.
            let _ = std::io::stdout().write_all(line.as_bytes());
        })?;
        for problem in &verdict.problems {
            eprintln!("error: {problem}");
        }
        eprintln!("the console's log: {}", log.display());
        Ok(u8::from(verdict.totals().1 > 0))
    }
}
