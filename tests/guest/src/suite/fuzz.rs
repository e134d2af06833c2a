// SPDX-License-Identifier: GPL-2.0

//! Programs made by chance: threads of a process that open, use, map, unmap and close all devices at once, with good and
//! bad values, until they end or are killed.
//!
//! A program follows from its [name](program), which the console shows before it runs. Where the kernel tells what of the
//! drivers' code is [reached](coverage), a program that has reached something new is kept, and others are made from it.
//!
//! | word | meaning |
//! |---|---|
//! | `seconds=N` | for how long programs follow |
//! | `seed=NAME` | begin with this one |
//! | `program=NAME` | this one again and again; the name may be that of a file, too |
//! | `shrink=PART` | [shorter](shrink) ones than this one |
//! | `times=N` | run each of those so often, as it is a matter of chance what harm they do |
//! | `trace=1` | say each call before it is made |

mod chance;
mod coverage;
mod outside;
mod program;
mod shrink;
mod steps;
mod world;

use std::fmt::Display;
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::abi::DOMID_SELF;
use crate::boot::{self, Drivers, Words};
use crate::ktap::{check, fail, line, skip, OrFail, Suite, Test, TestResult};
use crate::resources::{is_report, KernelLog};
use crate::suite::SOON;
use crate::sys::{self, Child, Mapping, PAGE};
use crate::xen::Xen;
use chance::Chance;
use coverage::Coverage;
use outside::Outside;
use program::{Name, Program, THREADS};
use shrink::Part;
use steps::SIGNAL;
use world::{Common, Hand, World};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "fuzz",
    tests: &[
        Test::new("regressions", regressions).seconds(1200),
        Test::new("programs", programs).seconds(7 * 24 * 3600),
    ],
};

/// Where programs in files are, and what their names end with.
const REGRESSIONS: &str = "/usr/lib/xen-rust/regressions";
const EXTENSION: &str = "program";

/// How long a program may take on a kernel that is not slow.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so many programs the guest sends events again.
const STIR: u64 = 50;
/// How long one that is killed may take to go.
const END: Duration = Duration::from_secs(90);

/// Runs programs one after the other.
struct Runner {
    outside: Outside,
    common: Common,
    coverage: Option<Coverage>,
    console: OwnedFd,
    log: KernelLog,
    xen: Xen,
    /// Event channels that are open without a program.
    ports: usize,
    begun: Instant,
    programs: u64,
    kept: usize,
}

impl Runner {
    fn new(trace: bool) -> TestResult<Self> {
        // Programs leave children behind, who end soon.
        sys::adopt_orphans()?;
        let outside = Outside::new()?;
        let xen = Xen::open()?;
        let console = || sys::open("/dev/console", libc::O_WRONLY | libc::O_NOCTTY);
        let told = if trace { Some(console()?) } else { None };
        Ok(Self {
            outside,
            common: Common::new(told)?,
            coverage: Coverage::open(THREADS),
            console: console()?,
            log: KernelLog::from_now()?,
            ports: xen.open_ports(DOMID_SELF)?,
            xen,
            begun: Instant::now(),
            programs: 0,
            kept: 0,
        })
    }

    /// Writes a line to the console itself, where it is when the kernel's next one comes.
    fn say(&self, text: impl Display) {
        let _ = sys::write(&self.console, format!("fuzz {text}\n").as_bytes());
    }

    /// Runs a program until it ends, by itself or not. The kernel must have nothing to say about it, and no event channel
    /// may be left.
    fn run(&mut self, name: impl Display, program: &Program) -> TestResult {
        self.say(format_args!("runs {name}"));
        self.programs += 1;
        let mut child = Child::fork(|| {
            run(&self.outside, &self.common, self.coverage.as_ref(), program);
            0
        })?;
        child.lead_group();
        if child.ends_within(PATIENCE * boot::slowness()).is_none() {
            child.kill_group(libc::SIGKILL);
            // What is stuck because the kernel has failed need not be waited for.
            self.unharmed(&name).inspect_err(|_| child.leave())?;
            if child.wait_for(END).is_none() {
                let stack =
                    fs::read_to_string(format!("/proc/{}/stack", child.pid())).unwrap_or_default();
                child.leave();
                return fail(format_args!("program {name} cannot be killed\n{stack}"));
            }
        }
        sys::reap_orphans();
        if let Some(coverage) = &self.coverage {
            coverage.add_rest();
        }
        if self.common.is_unsettled() {
            self.common.settings.restore();
        }
        self.outside.mend();
        if self.programs % STIR == 0 {
            self.outside.stir()?;
        }
        self.unharmed(&name)?;
        let open = || self.xen.open_ports(DOMID_SELF);
        // The last ones are closed when somebody looks.
        if sys::eventually(SOON, || open().is_ok_and(|open| open <= self.ports)) {
            return Ok(());
        }
        let left = open()?.saturating_sub(self.ports);
        fail(format_args!("program {name} leaves {left} event channels"))
    }

    /// The kernel must have nothing to say.
    fn unharmed(&self, name: &impl Display) -> TestResult {
        let reported = self.log.new_lines().into_iter().find(|l| is_report(l));
        match reported {
            None => Ok(()),
            Some(report) => fail(format_args!("program {name}: the kernel says {report:?}")),
        }
    }

    /// Runs one that is looked into. All has been said when it has done harm, and the machine is of no more use.
    fn look_into(&mut self, name: impl Display, program: &Program) -> TestResult {
        self.run(name, program).inspect_err(|_| {
            self.say("has seen harm");
            sys::power_off();
        })
    }

    /// What has been reached, as a number that grows.
    fn reached(&self) -> u64 {
        self.coverage.as_ref().map_or(0, Coverage::pairs)
    }

    /// Runs programs from one of a name on. What has reached something new is kept, and others are made from it.
    fn explore(&mut self, first: Name, until: Instant) -> TestResult {
        let mut chance = Chance::new(first.number());
        let mut number = first.number();
        let mut kept: Vec<Name> = Vec::new();
        let mut next = Some(first);
        while Instant::now() < until {
            let name = next
                .take()
                .or_else(|| descendant(&kept, &mut chance))
                .unwrap_or_else(|| {
                    number += 1;
                    Name::new(number)
                });
            let before = self.reached();
            self.run(&name, &name.program())?;
            if self.reached() > before {
                kept.push(name);
            }
        }
        self.kept = kept.len();
        Ok(())
    }

    /// Says what there was, and that all of it has gone.
    fn end(self) -> TestResult {
        let (calls, seconds) = (self.common.calls(), self.begun.elapsed().as_secs().max(1));
        line(format_args!(
            "# {} programs, {calls} calls in {seconds} s, {} a second",
            self.programs,
            calls / seconds
        ));
        if let Some(coverage) = &self.coverage {
            line(format_args!(
                "# {} places and {} pairs of places reached, {} programs kept",
                coverage.places(),
                coverage.pairs(),
                self.kept
            ));
        }
        self.outside.released()
    }
}

/// What `make fuzz` asks for.
struct Wanted {
    time: Duration,
    what: What,
    trace: bool,
}

/// Which programs run.
enum What {
    /// Those that follow from this one's number, and that are made from them.
    From(Name),
    /// This one, so named, again and again.
    Only(String),
    /// Shorter ones than this one, from a part of it on.
    Shorter(String, Part),
}

impl Wanted {
    fn read() -> TestResult<Self> {
        let words = Words::read();
        let seconds = words.get("seconds").and_then(|n| n.parse().ok());
        if seconds.is_none() && words.drivers() == Drivers::C {
            return skip("left to `make fuzz REFERENCE=1`");
        }
        let what = match (words.get("program"), words.get("shrink")) {
            (Some(name), Some(part)) => What::Shorter(name.to_owned(), part.parse().or_fail()?),
            (Some(name), None) => What::Only(name.to_owned()),
            (None, _) => What::From(words.get("seed").unwrap_or("1").parse().or_fail()?),
        };
        Ok(Self {
            time: Duration::from_secs(seconds.unwrap_or(if boot::long() { 600 } else { 60 })),
            what,
            trace: words.get("trace") == Some("1"),
        })
    }
}

fn programs() -> TestResult {
    let wanted = Wanted::read()?;
    let mut runner = Runner::new(wanted.trace)?;
    let until = Instant::now() + wanted.time;
    match wanted.what {
        What::From(name) => runner.explore(name, until)?,
        What::Only(name) => {
            let program = named(&name)?;
            for step in &program.steps {
                runner.say(format_args!("step {step}"));
            }
            while Instant::now() < until {
                runner.look_into(&name, &program)?;
            }
        }
        What::Shorter(name, part) => {
            let program = named(&name)?;
            let mut part = part.or_later(&program);
            while let (Some(now), true) = (part, Instant::now() < until) {
                let candidate = now.left_out_of(&program);
                for _ in 0..times() {
                    runner.look_into(now, &candidate)?;
                }
                part = now.next(&program);
            }
            match part {
                Some(part) => runner.say(format_args!("stops before {part}")),
                None => runner.say("is done"),
            }
        }
    }
    runner.end()
}

/// How often a program runs that is to show whether it does harm, as far as that is a matter of chance.
fn times() -> usize {
    let words = Words::read();
    words
        .get("times")
        .and_then(|n| n.parse().ok())
        .unwrap_or(20)
}

/// The program of a name: made from it, or one of those in files.
fn named(name: &str) -> TestResult<Program> {
    if let Ok(name) = name.parse::<Name>() {
        return Ok(name.program());
    }
    let text = fs::read_to_string(format!("{REGRESSIONS}/{name}.{EXTENSION}"))?;
    text.parse().or_fail()
}

/// Programs that have harmed the kernel once do so no more.
fn regressions() -> TestResult {
    if Words::read().drivers() == Drivers::C {
        return skip("left to `make fuzz REFERENCE=1 PROGRAM=...`");
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(REGRESSIONS)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) {
            names.extend(path.file_stem().map(|n| n.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    check(!names.is_empty(), "there are none")?;
    let mut runner = Runner::new(false)?;
    for name in names {
        let program = named(&name)?;
        for _ in 0..boot::fewer(times()) {
            runner.run(&name, &program)?;
        }
    }
    runner.end()
}

/// The name of a program made from one of those that were kept: mostly one of the latest, and two times out of three.
fn descendant(kept: &[Name], chance: &mut Chance) -> Option<Name> {
    if kept.is_empty() || chance.one_in(3) {
        return None;
    }
    let from = if chance.one_in(2) {
        kept.len().saturating_sub(16)
    } else {
        0
    };
    let name = &kept[from + chance.below(kept.len() - from)];
    name.descendant(chance)
}

/// What the process of a program does.
fn run(outside: &Outside, common: &Common, coverage: Option<&Coverage>, program: &Program) {
    // SAFETY: Ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    let _ = sys::handle_signal(SIGNAL);
    let Ok(world) = World::new(outside, common) else {
        return;
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let world = &world;
            scope.spawn(move || {
                let Ok(memory) = Mapping::anonymous(4 * PAGE) else {
                    return;
                };
                world.threads[thread].store(sys::thread_id(), Ordering::Relaxed);
                let mut hand = Hand {
                    world,
                    thread,
                    number: 0,
                    chance: Chance::new(0),
                    memory,
                    alarm: None,
                    has_own_mounts: false,
                };
                if let Some(coverage) = coverage {
                    coverage.follow(thread);
                }
                for step in program.of_thread(thread) {
                    // Whatever comes of it will do.
                    let _ = hand.step(step);
                    if let Some(coverage) = coverage {
                        coverage.add(thread);
                    }
                }
            });
        }
    });
}
