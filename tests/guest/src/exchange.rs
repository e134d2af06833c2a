// SPDX-License-Identifier: GPL-2.0

//! Exchanges all drivers while xenstored holds them, without anybody's noticing.
//!
//! When xenstored is updated live (`xenstore-control live-update PROGRAM`), it writes all that it knows to a file and executes
//! a program in its own place, which takes that over, together with the files of its clients and of event channels; those of
//! the other devices are closed. This is such a program. It has the file of event channels, too, made anew by the other
//! driver, with the same channels under the same numbers, and then executes xenstored.

use std::fs::{self, File};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::abi::{DomId, DOMID_SELF};
use crate::daemons;
use crate::device::evtchn::{Evtchn, Port};
use crate::drivers;
use crate::process;
use crate::sys;
use crate::xen::event::Status;
use crate::xen::Xen;

/// The program's name, by which it knows what it is to be.
pub const NAME: &str = "exchange-drivers";
/// Where it says how it went.
pub const RESULT: &str = "/run/exchange-drivers.result";
/// What is written there if all is well.
pub const DONE: &str = "done";

/// Where versions of xenstored keep the file.
const STATES: [&str; 3] = [
    "/run/xenstored/state_dump",
    "/var/lib/xen/xenstore/state_dump",
    "/var/lib/xenstored/state_dump",
];

/// What xenstored has: the file of event channels, and the channels, by domain and own port.
#[derive(Debug, PartialEq, Eq)]
struct State {
    events: RawFd,
    channels: Vec<(DomId, Port)>,
}

impl State {
    /// Reads xenstored's file (`xenstore_state.h`): after its own header, records of a type, a length, and contents.
    fn parse(file: &[u8]) -> Option<Self> {
        const HEADER: usize = 16;
        const GLOBAL: u32 = 1;
        const CONNECTION: u32 = 2;
        const RING: u16 = 0;

        let (mut events, mut channels) = (None, Vec::new());
        let mut rest = file.strip_prefix(b"xenstore")?.get(HEADER - 8..)?;
        loop {
            let (kind, length) = (number(rest, 0)?, number(rest, 4)? as usize);
            if kind == 0 {
                break;
            }
            let record = rest.get(8..8 + length)?;
            let low = |at: usize| number(record, at).map(|n| n as u16);
            match kind {
                GLOBAL => events = Some(number(record, 4)? as RawFd),
                CONNECTION if low(4)? == RING => channels.push((low(8)?, number(record, 12)?)),
                _ => {}
            }
            rest = &rest[8 + length..];
        }
        Some(Self {
            events: events?,
            channels,
        })
    }

    fn read() -> Result<Self, String> {
        let file = STATES
            .into_iter()
            .find_map(|path| fs::read(path).ok())
            .ok_or("xenstored has left no state")?;
        Self::parse(&file).ok_or_else(|| "xenstored's state is something else".into())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_ne_bytes(*four))
}

/// A channel of xenstored's, by its port, and what is at the other end.
#[derive(Clone, Copy, Debug)]
struct Channel {
    port: Port,
    remote: (DomId, Port),
}

/// In place of xenstored: exchanges the drivers, then executes it, with the arguments that it was given.
pub fn run(arguments: &[String]) -> ExitCode {
    let result = exchange();
    let said = result.as_ref().map_or_else(String::as_str, |()| DONE);
    // Nobody hears of anything else that fails from here on.
    let _ = fs::write(RESULT, said);
    let error = Command::new(daemons::tool("xenstored"))
        .args(arguments)
        .exec();
    let _ = fs::write(RESULT, format!("{said}; xenstored: {error}"));
    ExitCode::FAILURE
}

fn exchange() -> Result<(), String> {
    let state = State::read()?;
    let channels = channels(&state)?;
    let devices: Vec<_> = drivers::MODULES
        .iter()
        .flat_map(|m| m.serves)
        .copied()
        .collect();
    let holders = process::holders(&devices);
    if !holders.is_empty() {
        return Err(format!("devices are open: {holders:?}"));
    }
    let next = drivers::loaded().other();
    // SAFETY: xenstored has handed its file over, and nobody else here has it.
    drop(unsafe { File::from_raw_fd(state.events) });
    drivers::unload_all()?;
    drivers::load_all(next)?;
    sys::mount("none", "/proc/xen", "xenfs").map_err(|e| format!("mounting: {e}"))?;
    rebind(state.events, channels).map_err(|e| format!("binding: {e}"))
}

fn channels(state: &State) -> Result<Vec<Channel>, String> {
    let ask = || -> sys::Result<Vec<_>> {
        let xen = Xen::open()?;
        let status = |&(_, port): &(DomId, Port)| Ok((port, xen.port_status(DOMID_SELF, port)?));
        state.channels.iter().map(status).collect()
    };
    let found = ask().map_err(|e| e.to_string())?;
    let mut channels = Vec::new();
    for (port, status) in found {
        let Status::Interdomain(domain, remote) = status else {
            return Err(format!("xenstored's port {port} is {status:?}"));
        };
        let remote = (domain, remote);
        channels.push(Channel { port, remote });
    }
    channels.sort_unstable_by_key(|c| c.port);
    Ok(channels)
}

/// Binds channels on a fresh file, each to the port it had. Xen gives the lowest port that is free, so others are bound
/// until it is the turn of the right one.
fn rebind(number: RawFd, channels: Vec<Channel>) -> sys::Result<()> {
    let file = Evtchn::open()?;
    let own = DOMID_SELF.into();
    let mut between = Vec::new();
    for channel in channels {
        loop {
            let port = file.bind_unbound(own)?;
            if port >= channel.port {
                file.unbind(port)?;
                break;
            }
            between.push(port);
        }
        let (domain, port) = channel.remote;
        let port = file.bind_interdomain(domain.into(), port)?;
        if port != channel.port {
            return Err(sys::Errno(libc::EADDRNOTAVAIL));
        }
    }
    between.into_iter().try_for_each(|port| file.unbind(port))?;
    sys::duplicate_to(&file, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_xenstored_has() {
        let mut file = b"xenstore".to_vec();
        let mut record = |words: &[u32]| words.iter().for_each(|w| file.extend(w.to_ne_bytes()));
        record(&[0x0200_0000, 0]);
        record(&[1, 8, 7, 9]);
        // A ring with a target and data, a socket, a watch.
        record(&[2, 32, 1, 0, 0x7ff4_0000, 5, 8, 0, 11, 22]);
        record(&[2, 24, 2, 1, 12, 0, 0, 0]);
        record(&[3, 8, 33, 44]);
        record(&[2, 24, 3, 0, 0x7ff4_0003, 17, 0, 0]);
        record(&[0, 0]);
        let state = State {
            events: 9,
            channels: vec![(0, 5), (3, 17)],
        };
        assert_eq!(State::parse(&file), Some(state));
        assert_eq!(State::parse(&file[..file.len() - 8]), None);
        assert_eq!(State::parse(b"another"), None);
    }
}
