// SPDX-License-Identifier: GPL-2.0

//! The tests, a suite for each device and each way of using them.

use std::fs;
use std::time::Duration;

use crate::boot::Words;
use crate::drivers;
use crate::ktap::{equal, skip, Suite, TestResult};
use crate::sys::{self, Child, Exit};
use crate::xen::{BareDomain, Kind};

pub mod balloon;
pub mod crashes;
pub mod crates;
pub mod daemons;
pub mod device_model;
pub mod disks;
pub mod evtchn;
pub mod faults;
pub mod fuzz;
pub mod gntdev;
pub mod guests;
pub mod hypercall_buffer;
pub mod libvirt;
pub mod many;
pub mod modules;
pub mod network;
mod pool;
pub mod privcmd;
pub mod programs;
pub mod streams;
pub mod toolstack;
pub mod xenfs;

/// All suites, in the order to run them: what unloads modules and ends daemons comes last.
pub const ALL: [&Suite; 15] = [
    &privcmd::SUITE,
    &hypercall_buffer::SUITE,
    &evtchn::SUITE,
    &gntdev::SUITE,
    &balloon::SUITE,
    &xenfs::SUITE,
    &faults::SUITE,
    &fuzz::SUITE,
    &guests::SUITE,
    &toolstack::SUITE,
    &programs::SUITE,
    &streams::SUITE,
    &crashes::SUITE,
    &modules::SUITE,
    &daemons::SUITE,
];

/// Those of an image with all of other people's programs (`xen_rust.clients=1`).
pub const CLIENTS: [&Suite; 8] = [
    &programs::SUITE,
    &crates::SUITE,
    &disks::SUITE,
    &network::SUITE,
    &device_model::SUITE,
    &libvirt::SUITE,
    &streams::SUITE,
    &many::SUITE,
];

/// Whether this is such an image.
pub fn with_clients() -> bool {
    Words::read().get("clients") == Some("1")
}

/// The suites that are to be run here.
pub fn here() -> &'static [&'static Suite] {
    if with_clients() {
        &CLIENTS
    } else {
        &ALL
    }
}

/// A suite by its name.
pub fn named(name: &str) -> Option<&'static Suite> {
    ALL.into_iter().chain(CLIENTS).find(|s| s.name == name)
}

/// How long something that should happen at once may take on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long to wait for what must not happen.
const NEVER: Duration = Duration::from_millis(200);

/// A number of frames or rounds, smaller in a translated domain: there every frame that comes or goes changes the
/// physical address space, and under emulation the IOMMU's answer to that takes milliseconds.
fn scaled(count: usize) -> usize {
    match crate::boot::kind() {
        Some(Kind::Pvh) => (count / 8).max(2),
        _ => count,
    }
}

/// A module of `tests/kernel`, loaded for as long as this lives.
struct Aid {
    name: &'static str,
}

impl Aid {
    /// Skips the test where the image does not have it.
    fn load(name: &'static str) -> TestResult<Self> {
        Self::load_with(name, "")
    }

    /// The same, with parameters.
    fn load_with(name: &'static str, parameters: &str) -> TestResult<Self> {
        let file = drivers::in_updates(name);
        if !fs::exists(&file)? {
            return skip(format_args!("the image has no module {name}"));
        }
        sys::load_module(&file, parameters)?;
        Ok(Self { name })
    }

    /// The path of a parameter.
    fn parameter(&self, name: &str) -> String {
        format!(
            "/sys/module/{}/parameters/{name}",
            drivers::kernel_name(self.name)
        )
    }
}

impl Drop for Aid {
    fn drop(&mut self) {
        let _ = sys::unload_module(&drivers::kernel_name(self.name));
    }
}

/// Kills a child, whose end may take so long.
#[track_caller]
fn kill(child: &mut Child, time: Duration) -> TestResult {
    child.kill(libc::SIGKILL);
    equal(
        child.wait_for(time),
        Some(Exit::Signal(libc::SIGKILL)),
        "the child's end",
    )
}

/// Kills a child in the midst of what it does: at that age it must not have ended by itself.
#[track_caller]
fn kill_after(child: &mut Child, age: Duration, time: Duration) -> TestResult {
    equal(
        child.wait_for(age),
        None,
        "the child's end before it is killed",
    )?;
    kill(child, time)
}

/// Makes a test of each kind of bare domain.
fn each_kind(body: impl Fn(BareDomain) -> TestResult) -> TestResult {
    for kind in [Kind::Pv, Kind::Pvh] {
        body(BareDomain::new(kind)?)?;
    }
    Ok(())
}
