// SPDX-License-Identifier: GPL-2.0

//! Inside a guest: runs a command, or is the other side of tests.
//!
//! As the other side it is told what to do through xenstore. The one who asks writes `NUMBER REQUEST` to
//! `data/request` below the guest's directory, each with a number of its own; the answer is in `data/reply`, as
//! `NUMBER ok TEXT` or `NUMBER error TEXT`. The requests:
//!
//! | request | what the guest does | answer |
//! |---|---|---|
//! | `echo TEXT` | nothing | the text |
//! | `grant COUNT ro|rw BYTE` | grants pages filled with a byte to domain 0 | a number for them, then their references |
//! | `byte GRANT OFFSET` | | the byte there |
//! | `set GRANT OFFSET BYTE` | writes a byte | |
//! | `revoke GRANT` | ends the grants | |
//! | `unbound` | makes a port for domain 0 | the port |
//! | `bind PORT` | binds to domain 0's port | the port |
//! | `send PORT COUNT` | sends events as fast as it can | |
//! | `expect PORT` | waits for an event | |
//! | `unbind PORT` | gives a port back | |
//! | `storm PORT GRANT COUNT` | sends events as fast as it can, each after its number was written to the grant | |
//! | `hold` | opens files of `/dev/xen/evtchn` in many states | |
//! | `held` | checks what has become of them, and closes them | |
//! | `load MODULE PARAMETERS` | loads the driver that is tested | |
//! | `unload MODULE` | unloads it | |
//! | `file PATH` | | what is in a file |
//! | `xenfs` | mounts xenfs for a moment | what is in it, see [`crate::inside::xenfs`] |
//! | `online` | brings memory online that was added | how many blocks |
//! | `privcmd DOMAIN...` | opens privcmd | what that lets it do, see [`crate::inside::rights`] |
//! | `increment DOMAIN FRAME` | adds one to a byte of another domain | what it was |
//! | `run COMMAND` | has the shell run it | the end of what it says |
//! | `proxy DOMAIN STREAMS` | listens for a domain by libxenvchan, and sends back what comes, see [`crate::vchan`] | |
//! | `exchange DOMAIN STREAMS BYTES` | sends so many in each stream to a guest that listens, and compares what comes back | for each how many bytes went, and their sum |
//! | `proxied` | waits until nobody listens any more | for each how many bytes came, and their sum |

mod held;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};
use std::str::{FromStr, SplitWhitespace};
use std::time::Duration;

use crate::abi::DOMID_SELF;
use crate::boot::{self, Words};
use crate::device::gntalloc::Granted;
use crate::device::{Evtchn, Gntalloc};
use crate::inside;
use crate::sys;
use crate::vchan::{self, Echo, Place};
use crate::xenstore::Xenstore;
use held::Held;

/// This domain, whatever its number.
const SELF: u32 = DOMID_SELF as u32;

/// The first process of a guest.
pub fn run_guest(words: &Words) {
    let kind = boot::kind().map_or_else(|| "no Xen".into(), |k| format!("{k:?}"));
    println!("This is a {kind} guest, Linux {}", sys::kernel_release());
    match (words.get("cmd"), words.get("wait")) {
        (_, Some("1")) => inside::wait_for_xenstore(),
        (Some(command), _) => {
            let command = command.replace(',', " ");
            println!("# {command}");
            match Command::new("sh").args(["-c", &command]).status() {
                Ok(status) => println!("{status}"),
                Err(error) => println!("sh: {error}"),
            }
        }
        _ => {
            run(words.get("ours").unwrap_or(""));
        }
    }
}

/// Serves requests until xenstore goes away.
///
/// `ours` are those of the tested drivers, with commas between, that the guest has in place of the kernel's own.
pub fn run(ours: &str) -> ExitCode {
    for module in ["xen-evtchn", "xen-gntalloc"] {
        let loaded = if ours.split(',').any(|name| name == module) {
            inside::load(module, "")
        } else {
            sys::load_module(&format!("/lib/reference/{module}.ko"), "")
        };
        if let Err(error) = loaded {
            println!("agent: {module}: {error}");
        }
    }
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> sys::Result<()> {
    let mut store = Xenstore::open()?;
    let mut hands = Hands {
        events: Evtchn::open_nonblocking()?,
        granter: Gntalloc::open()?,
        grants: BTreeMap::new(),
        held: None,
        echoes: Vec::new(),
    };
    store.watch("data/request")?;
    let mut last = String::new();
    loop {
        // Said again where nobody has heard it: a guest that was restored has fresh keys, and watches fire again.
        if store.read("data/ready").is_err() {
            store.write("data/ready", "1")?;
            last.clear();
        }
        store.wait()?;
        let request = store.read("data/request").unwrap_or_default();
        if request.is_empty() || request == last {
            continue;
        }
        let (number, what) = request.split_once(' ').unwrap_or((&request, ""));
        let answer = match hands.perform(what) {
            Ok(text) => format!("{number} ok {text}"),
            Err(error) => format!("{number} error {error}"),
        };
        store.write("data/reply", &answer)?;
        last = request;
    }
}

/// Runs a command; gives the end of what it said, as much as a key can have.
fn command(text: &str) -> Result<String, String> {
    const MOST: usize = 1500;
    let ran = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {text}")])
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
    let mut from = said.len().saturating_sub(MOST);
    while !said.is_char_boundary(from) {
        from += 1;
    }
    if ran.status.success() {
        Ok(said[from..].to_owned())
    } else {
        Err(format!("{}: {}", ran.status, &said[from..]))
    }
}

/// What the agent has in its hands for those who ask.
struct Hands {
    events: Evtchn,
    granter: Gntalloc,
    grants: BTreeMap<usize, Granted>,
    held: Option<Held>,
    echoes: Vec<Echo>,
}

fn word<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Result<T, String> {
    words
        .next()
        .and_then(|w| w.parse().ok())
        .ok_or_else(|| "a word is missing".into())
}

impl Hands {
    fn perform(&mut self, request: &str) -> Result<String, String> {
        let mut words = request.split_whitespace();
        let verb = words.next().unwrap_or("");
        let text = |e: sys::Errno| e.to_string();
        let done = |()| String::new();
        match verb {
            "echo" => Ok(words.collect::<Vec<_>>().join(" ")),
            "grant" => {
                let (count, mode, byte): (usize, String, u8) =
                    (word(&mut words)?, word(&mut words)?, word(&mut words)?);
                let granted = self.granter.grant(0, count, mode == "rw").map_err(text)?;
                granted.memory.fill(byte);
                let references: Vec<_> = granted.references.iter().map(u32::to_string).collect();
                let number = self.grants.keys().last().map_or(0, |n| n + 1);
                self.grants.insert(number, granted);
                Ok(format!("{number} {}", references.join(" ")))
            }
            "byte" => {
                let (grant, offset) = (word(&mut words)?, word::<usize>(&mut words)?);
                Ok(self
                    .granted(grant)?
                    .memory
                    .read_at::<u8>(offset)
                    .to_string())
            }
            "set" => {
                let (grant, offset) = (word(&mut words)?, word::<usize>(&mut words)?);
                let byte: u8 = word(&mut words)?;
                self.granted(grant)?.memory.write_at(offset, &byte);
                Ok(String::new())
            }
            "revoke" => {
                let grant: usize = word(&mut words)?;
                let granted = self.grants.remove(&grant).ok_or("no such grant")?;
                self.granter.revoke(granted).map(done).map_err(text)
            }
            "unbound" => self
                .events
                .bind_unbound(0)
                .map(|p| p.to_string())
                .map_err(text),
            "bind" => self
                .events
                .bind_interdomain(0, word(&mut words)?)
                .map(|p| p.to_string())
                .map_err(text),
            "send" => {
                let (port, count) = (word(&mut words)?, word::<u32>(&mut words)?);
                (0..count)
                    .try_for_each(|_| self.events.notify(port))
                    .map(done)
                    .map_err(text)
            }
            "expect" => {
                let port: u32 = word(&mut words)?;
                loop {
                    if self.events.next(Duration::from_secs(60)).map_err(text)? == port {
                        return Ok(String::new());
                    }
                }
            }
            "unbind" => self
                .events
                .unbind(word(&mut words)?)
                .map(done)
                .map_err(text),
            "storm" => {
                let (port, grant) = (word(&mut words)?, word(&mut words)?);
                let count: u32 = word(&mut words)?;
                let memory = &self.granted(grant)?.memory;
                for number in 1..=count {
                    memory.write_at(0, &number);
                    self.events.notify(port).map_err(text)?;
                }
                Ok(String::new())
            }
            "hold" => {
                self.held = Some(Held::new()?);
                Ok(String::new())
            }
            "held" => {
                let held = self.held.take().ok_or("nothing is held")?;
                held.check().map(done)
            }
            "load" => {
                let module: String = word(&mut words)?;
                let parameters = words.collect::<Vec<_>>().join(" ");
                inside::load(&module, &parameters).map(done).map_err(text)
            }
            "unload" => inside::unload(&word::<String>(&mut words)?)
                .map(done)
                .map_err(text),
            "file" => std::fs::read_to_string(word::<String>(&mut words)?)
                .map(|content| content.trim().to_owned())
                .map_err(|e| e.to_string()),
            "xenfs" => inside::xenfs().map_err(|e| e.to_string()),
            "online" => inside::bring_online()
                .map(|count| count.to_string())
                .map_err(|e| e.to_string()),
            "privcmd" => {
                let domains: Result<Vec<_>, _> = words.map(str::parse).collect();
                Ok(inside::rights(&domains.map_err(|_| "not a number")?))
            }
            "increment" => inside::increment(word(&mut words)?, word(&mut words)?)
                .map(|byte| byte.to_string())
                .map_err(text),
            "run" => command(&words.collect::<Vec<_>>().join(" ")),
            "proxy" => {
                let (domain, streams) = (word(&mut words)?, word(&mut words)?);
                self.echoes = (0..streams)
                    .map(|stream| Echo::start(domain, stream))
                    .collect::<std::io::Result<_>>()
                    .map_err(|e| e.to_string())?;
                Ok(String::new())
            }
            "exchange" => {
                let domain = word(&mut words)?;
                let (streams, bytes) = (word(&mut words)?, word(&mut words)?);
                let sums = vchan::send_and_receive(Place::Guest, domain, streams, bytes)?;
                Ok(vchan::text(&sums))
            }
            "proxied" => {
                let sums: Result<Vec<_>, _> = self.echoes.drain(..).map(Echo::end).collect();
                Ok(vchan::text(&sums?))
            }
            _ => Err("no such request".into()),
        }
    }

    fn granted(&self, number: usize) -> Result<&Granted, String> {
        self.grants
            .get(&number)
            .ok_or_else(|| "no such grant".into())
    }
}
