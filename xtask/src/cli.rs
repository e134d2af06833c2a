// SPDX-License-Identifier: GPL-2.0

//! The command line. The Makefile is its caller; its targets are what users know.

use anyhow::{bail, Result};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches};

use crate::audit;
use crate::bench::{self, Bench};
use crate::check;
use crate::deb;
use crate::demo::Demo;
use crate::fuzz;
use crate::installation::{Installation, With};
use crate::kernel::Kernel;
use crate::krate;
use crate::lane::{Dom0, Drivers, Lane};
use crate::modules;
use crate::place::Places;
use crate::project::Project;
use crate::qemu::{Mode, Programs};
use crate::step::Progress;
use crate::suite::{self, Selection};

/// What the user asks for.
pub enum Command {
    /// Build our modules for a lane.
    Build(Lane),
    /// Boot a dom0 for show or for use.
    Demo(Demo),
    Test(Selection),
    /// Measure the drivers, ours and the kernel's own.
    Bench(Bench),
    Clippy(Lane),
    Format {
        check: bool,
    },
    /// Count what has to be trusted, and check the rules about it.
    Audit,
    /// Build the Debian package.
    Package,
    /// Try the package in a Debian dom0.
    Install(Installation),
    /// Write the documentation of our crates.
    Document(Lane),
    /// Write rust-project.json for editors.
    Describe(Lane),
}

/// Reads the command line; ends the program if it makes no sense.
pub fn parse() -> Command {
    command_of(&app().get_matches())
}

fn app() -> clap::Command {
    let lane = |default: Lane| {
        Arg::new("lane")
            .long("lane")
            .value_parser(PossibleValuesParser::new(Lane::ALL.map(Lane::name)))
            .default_value(default.name())
            .help("The kernel")
    };
    let dom0 = Arg::new("dom0")
        .long("dom0")
        .value_parser(PossibleValuesParser::new(Dom0::ALL.map(Dom0::name)))
        .help("How Xen runs dom0");
    let reference = Arg::new("reference")
        .long("reference")
        .action(ArgAction::SetTrue)
        .help("Load the kernel's own C drivers instead of ours");
    let filter = Arg::new("filter")
        .long("filter")
        .help("Only guest tests, or operations, of these names");
    let long = Arg::new("long")
        .long("long")
        .action(ArgAction::SetTrue)
        .help("Races, storms and transfers for minutes rather than seconds");
    let clients = Arg::new("clients")
        .long("clients")
        .action(ArgAction::SetTrue)
        .help("In an image with QEMU, libvirt and other clients of the drivers");
    let command = |name: &'static str, about: &'static str| clap::Command::new(name).about(about);
    let boot = |name, about| {
        command(name, about).args([lane(Lane::Stock), dom0.clone(), reference.clone()])
    };
    let measure =
        |name, about| command(name, about).args([lane(Lane::Kunit), dom0.clone(), filter.clone()]);
    clap::Command::new("xtask")
        .about("Builds, boots and tests the Xen drivers; see `make help`")
        .subcommand_required(true)
        .subcommands([
            command("build", "Build the modules for a lane").arg(lane(Lane::Kunit)),
            boot(
                "run",
                "Boot a dom0 on our drivers and do what an administrator does",
            ),
            boot("shell", "Boot a dom0 on our drivers to a shell").arg(clients.clone()),
            command("test", "Run all tests").args([
                lane(Lane::Kunit),
                dom0.clone(),
                reference.clone(),
                filter.clone(),
                long,
                clients,
            ]),
            command("fuzz", "Run programs made by chance").args([
                lane(Lane::Kunit),
                dom0.clone(),
                reference.clone(),
                Arg::new("seconds")
                    .long("seconds")
                    .value_parser(clap::value_parser!(u64).range(1..=7 * 24 * 3600))
                    .default_value("60")
                    .help("For how long"),
                Arg::new("seed")
                    .long("seed")
                    .help("The name of the first program, mostly a number"),
                Arg::new("program")
                    .long("program")
                    .help("The name of the only program"),
                Arg::new("boots")
                    .long("boots")
                    .value_parser(clap::value_parser!(u32))
                    .default_value("40")
                    .help("How many boots to spend on the shortest program that does the same"),
                Arg::new("trace")
                    .long("trace")
                    .action(ArgAction::SetTrue)
                    .help("Say each call before it is made"),
            ]),
            measure(
                "bench",
                "Measure our drivers and the C ones, in instructions",
            )
            .arg(
                Arg::new("save")
                    .long("save")
                    .action(ArgAction::SetTrue)
                    .help("Make the figures those that bench-check compares with"),
            ),
            measure(
                "bench-check",
                "Measure our drivers and fail where they have become slower",
            ),
            command("clippy", "Lint everything").arg(lane(Lane::Kunit)),
            command(
                "audit",
                "Count what has to be trusted, check the rules about it",
            ),
            command("deb", "Build the Debian package"),
            command("test-install", "Try the package in a Debian dom0").args([
                dom0,
                Arg::new("kernel")
                    .long("kernel")
                    .conflicts_with("suite")
                    .help("Only with Debian's kernel of this release"),
                Arg::new("suite")
                    .long("suite")
                    .help("Only with the kernel of this release of Debian"),
            ]),
            command("fmt", "Format everything"),
            command("fmt-check", "Say what is not formatted"),
            command("doc", "Write the documentation of our crates").arg(lane(Lane::Kunit)),
            command("rust-analyzer", "Write rust-project.json for editors").arg(lane(Lane::Kunit)),
        ])
}

fn command_of(matches: &ArgMatches) -> Command {
    match matches.subcommand() {
        Some(("build", matches)) => Command::Build(lane(matches)),
        Some(("run", matches)) => Command::Demo(demo(matches, Mode::Run)),
        Some(("shell", matches)) => Command::Demo(demo(matches, Mode::Shell)),
        Some(("test", matches)) => Command::Test(Selection {
            lane: lane(matches),
            dom0: dom0(matches).map_or_else(|| lane(matches).dom0s().to_vec(), |dom0| vec![dom0]),
            drivers: vec![drivers(matches)],
            filter: matches.get_one::<String>("filter").cloned(),
            long: matches.get_flag("long"),
            programs: None,
            boots: 0,
            clients: matches.get_flag("clients"),
        }),
        Some(("fuzz", matches)) => Command::Test(Selection {
            lane: lane(matches),
            dom0: dom0(matches).map_or_else(|| lane(matches).dom0s().to_vec(), |dom0| vec![dom0]),
            drivers: vec![drivers(matches)],
            filter: Some("fuzz.programs".to_owned()),
            long: false,
            programs: Some(Programs {
                seconds: matches.get_one("seconds").copied().unwrap_or(60),
                first: matches.get_one::<String>("seed").cloned(),
                only: matches.get_one::<String>("program").cloned(),
                trace: matches.get_flag("trace"),
                ..Programs::default()
            }),
            boots: matches.get_one("boots").copied().unwrap_or(0),
            clients: false,
        }),
        Some(("bench", matches)) => Command::Bench(bench(
            matches,
            if matches.get_flag("save") {
                bench::Then::Save
            } else {
                bench::Then::Show
            },
        )),
        Some(("bench-check", matches)) => Command::Bench(bench(matches, bench::Then::Check)),
        Some(("clippy", matches)) => Command::Clippy(lane(matches)),
        Some(("audit", _)) => Command::Audit,
        Some(("deb", _)) => Command::Package,
        Some(("test-install", matches)) => Command::Install(Installation {
            dom0: dom0(matches).unwrap_or(Dom0::Pv),
            with: match (
                matches.get_one::<String>("kernel"),
                matches.get_one::<String>("suite"),
            ) {
                (Some(release), _) => With::Kernel(release.clone()),
                (_, Some(suite)) => With::Suite(suite.clone()),
                _ => With::Upgrades,
            },
        }),
        Some(("fmt", _)) => Command::Format { check: false },
        Some(("fmt-check", _)) => Command::Format { check: true },
        Some(("doc", matches)) => Command::Document(lane(matches)),
        Some(("rust-analyzer", matches)) => Command::Describe(lane(matches)),
        _ => unreachable!("clap insists on one of the commands above"),
    }
}

fn demo(matches: &ArgMatches, mode: Mode) -> Demo {
    Demo {
        lane: lane(matches),
        dom0: dom0(matches).unwrap_or(lane(matches).dom0s()[0]),
        drivers: drivers(matches),
        mode,
        clients: mode == Mode::Shell && matches.get_flag("clients"),
    }
}

fn bench(matches: &ArgMatches, then: bench::Then) -> Bench {
    Bench {
        lane: lane(matches),
        dom0: dom0(matches).map_or_else(|| Dom0::ALL.to_vec(), |dom0| vec![dom0]),
        filter: matches.get_one::<String>("filter").cloned(),
        then,
    }
}

fn lane(matches: &ArgMatches) -> Lane {
    let name = matches.get_one::<String>("lane");
    name.and_then(|name| Lane::parse(name))
        .expect("clap has a default and accepts only lanes")
}

fn dom0(matches: &ArgMatches) -> Option<Dom0> {
    matches
        .get_one::<String>("dom0")
        .and_then(|name| Dom0::parse(name))
}

fn drivers(matches: &ArgMatches) -> Drivers {
    if matches.get_flag("reference") {
        Drivers::C
    } else {
        Drivers::Rust
    }
}

impl Command {
    /// The lanes whose kernels it needs.
    fn lanes(&self) -> &[Lane] {
        match self {
            Command::Build(lane)
            | Command::Clippy(lane)
            | Command::Document(lane)
            | Command::Describe(lane) => std::slice::from_ref(lane),
            Command::Demo(demo) => std::slice::from_ref(&demo.lane),
            Command::Test(selection) => std::slice::from_ref(&selection.lane),
            Command::Bench(bench) => std::slice::from_ref(&bench.lane),
            Command::Format { .. } | Command::Audit | Command::Package | Command::Install(_) => &[],
        }
    }

    /// As what kinds of dom0 it boots.
    fn dom0s(&self) -> &[Dom0] {
        match self {
            Command::Demo(demo) => std::slice::from_ref(&demo.dom0),
            Command::Test(selection) => &selection.dom0,
            _ => &[],
        }
    }

    /// Does it; gives the exit status.
    pub fn run(&self) -> Result<u8> {
        for lane in self.lanes() {
            if let Some(dom0) = self
                .dom0s()
                .iter()
                .find(|dom0| !lane.dom0s().contains(dom0))
            {
                bail!(
                    "lane {} does not boot as a {} dom0",
                    lane.name(),
                    dom0.name()
                );
            }
        }
        let progress = Progress::new();
        let places = Places::find()?;
        if let Command::Audit = self {
            return audit::run(&places.repo);
        }
        if let Command::Test(selection) = self {
            for name in selection.programs.iter().flat_map(Programs::names) {
                fuzz::is_name(&places.repo, name)?;
            }
        }
        let mut project = Project::open(&progress, &places, self.lanes())?;
        match self {
            Command::Audit => {}
            Command::Build(lane) => {
                let (kernel, _) = modules::for_lane(&project, *lane)?;
                print_places(&project, &kernel);
            }
            Command::Demo(demo) => return demo.run(&mut project),
            Command::Test(selection) => return suite::run(&mut project, selection),
            Command::Bench(bench) => return bench.run(&mut project),
            Command::Clippy(lane) => check::clippy(&project, *lane)?,
            Command::Format { check } => check::format(&project, *check)?,
            Command::Install(installation) => return installation.run(&project),
            Command::Package => println!("{}", deb::build(&project)?.display()),
            Command::Document(lane) => println!("{}", krate::document(&project, *lane)?.display()),
            Command::Describe(lane) => println!("{}", krate::describe(&project, *lane)?.display()),
        }
        Ok(0)
    }
}

/// Says where a build's products are; other tools rely on these places.
fn print_places(project: &Project<'_>, kernel: &Kernel) {
    let build = project.places.build();
    let lane = kernel.lane.name();
    println!(
        "Linux {} for lane {lane}, below {}:",
        kernel.release,
        build.display()
    );
    for (place, what) in [
        (format!("{lane}/modules/*.ko"), "our modules"),
        (
            format!("{lane}/reference/*.ko"),
            "the kernel's own C drivers",
        ),
        (format!("{lane}/vmlinuz"), "the kernel"),
        (format!("{lane}/source"), "its source"),
        (
            format!("{lane}/kernel"),
            "its objects: KDIR to build against it by hand",
        ),
        ("xen.gz".to_owned(), "Xen"),
        ("root".to_owned(), "the build root"),
    ] {
        println!("  {place:24} {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        app().debug_assert();
    }

    #[test]
    fn a_lane_boots_as_what_it_can() {
        let chosen =
            |lane| match command_of(&app().get_matches_from(["xtask", "test", "--lane", lane])) {
                Command::Test(selection) => selection.dom0,
                _ => panic!("not a test"),
            };
        assert_eq!(chosen("sanitize"), [Dom0::Pvh]);
        assert_eq!(chosen("sanitize-pv"), [Dom0::Pv]);
    }

    #[test]
    fn tests_run_as_both_kinds_of_dom0_unless_told() {
        let chosen = |arguments: &[&str]| match command_of(&app().get_matches_from(arguments)) {
            Command::Test(selection) => (selection.dom0, selection.drivers, selection.filter),
            _ => panic!("not a test"),
        };
        assert_eq!(
            chosen(&["xtask", "test"]),
            (vec![Dom0::Pv, Dom0::Pvh], vec![Drivers::Rust], None)
        );
        assert_eq!(
            chosen(&[
                "xtask",
                "test",
                "--dom0",
                "pvh",
                "--reference",
                "--filter",
                "a*"
            ]),
            (vec![Dom0::Pvh], vec![Drivers::C], Some("a*".to_owned()))
        );
    }
}
