// SPDX-License-Identifier: GPL-2.0

//! What is on the other side of all programs.

use crate::device::Privcmd;
use crate::domu::{self, Agent, Guest, Running};
use crate::ktap::{check, fail, OrFail, TestResult};
use crate::suite::privcmd::foreign::frames_of;
use crate::suite::SOON;
use crate::xen::grant::GrantTable;
use crate::xen::{BareDomain, Kind};

/// Pages that each domain grants.
const PAGES: usize = 12;
/// Ports that the guest makes.
const PORTS: usize = 4;
/// Events that it sends at a time.
const EVENTS: u32 = 2000;

/// A domain, and what of it may be used.
#[derive(Debug, Default)]
pub struct Side {
    /// Its number.
    pub id: u16,
    /// Grants to this domain.
    pub references: Vec<u32>,
    /// The frames of those.
    pub frames: Vec<u64>,
    /// Ports that it has made for this domain.
    pub ports: Vec<u32>,
    /// It runs: what is done to it must leave it alive.
    pub runs: bool,
}

/// A bare domain, whose grants are written from here.
struct Bare {
    domain: BareDomain,
    table: GrantTable,
}

/// A guest that runs, and sends events of its own.
struct Alive {
    guest: Running,
    agent: Agent,
    /// What it is told to do again and again.
    storm: String,
}

/// The domains on the other side.
pub struct Outside {
    /// What programs use of them: of the bare ones first.
    pub sides: Vec<Side>,
    bare: Vec<Bare>,
    alive: Option<Alive>,
}

impl Outside {
    /// Makes them.
    pub fn new() -> TestResult<Self> {
        let mut outside = Self {
            sides: Vec::new(),
            bare: Vec::new(),
            alive: None,
        };
        if domu::available() {
            let (alive, side) = Alive::new()?;
            outside.alive = Some(alive);
            outside.sides.push(side);
        }
        for kind in [Kind::Pv, Kind::Pvh] {
            let domain = BareDomain::new(kind)?;
            let frames = domain.populate(PAGES)?;
            let mut table = GrantTable::map(&domain, PAGES)?;
            let side = Side {
                id: domain.id(),
                references: table.grant(&frames, true),
                frames,
                ..Side::default()
            };
            outside.sides.insert(outside.bare.len(), side);
            outside.bare.push(Bare { domain, table });
        }
        Ok(outside)
    }

    /// The bare domains.
    pub fn bare(&self) -> &[Side] {
        &self.sides[..self.bare.len()]
    }

    /// Grants again what a program has written over: it may have had the table itself mapped.
    pub fn mend(&self) {
        for (bare, side) in self.bare.iter().zip(&self.sides) {
            for (&reference, &frame) in side.references.iter().zip(&side.frames) {
                if !bare.table.is_granted(reference, frame) {
                    bare.table.restore(reference, frame);
                }
            }
        }
    }

    /// Has the guest that runs send events anew. It must have sent the earlier ones.
    pub fn stir(&mut self) -> TestResult {
        self.alive.as_mut().map_or(Ok(()), Alive::stir)
    }

    /// All that programs had of them has been given back, so that they go.
    pub fn released(self) -> TestResult {
        for Bare { domain, table } in self.bare {
            drop(table);
            check(domain.destroyed_within(SOON)?, "pages are still held")?;
        }
        self.alive.map_or(Ok(()), Alive::end)
    }
}

impl Alive {
    /// Makes a guest, and has it make grants and ports.
    fn new() -> TestResult<(Self, Side)> {
        let guest = Guest::new(Kind::Pv).named("fuzzed").create().or_fail()?;
        let mut agent = guest.agent().or_fail()?;
        let number = |word: &str| match word.parse::<u32>() {
            Ok(number) => Ok(number),
            Err(_) => fail(format_args!("the guest said {word:?}")),
        };
        let granted = agent.call(&format!("grant {PAGES} rw 1")).or_fail()?;
        let mut words = granted.split_whitespace().map(number);
        let set = words.next().unwrap_or(Ok(0))?;
        let references = words.collect::<TestResult<Vec<_>>>()?;
        let mut ports = Vec::new();
        for _ in 0..PORTS {
            ports.push(number(&agent.call("unbound").or_fail()?)?);
        }
        let side = Side {
            id: guest.id(),
            frames: frames_of(&Privcmd::open()?, guest.id(), &references)?,
            references,
            ports,
            runs: true,
        };
        let storm = format!("storm {} {set} {EVENTS}", side.ports[0]);
        agent.begin(&storm).or_fail()?;
        let alive = Self {
            guest,
            agent,
            storm,
        };
        Ok((alive, side))
    }

    fn stir(&mut self) -> TestResult {
        self.agent.finish().or_fail()?;
        self.agent.begin(&self.storm).or_fail()
    }

    /// It lives to the end, and goes without a rest.
    fn end(mut self) -> TestResult {
        self.agent.finish().or_fail()?;
        self.agent.call("echo alive").or_fail()?;
        self.guest.destroy().or_fail()
    }
}
