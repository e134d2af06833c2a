// SPDX-License-Identifier: GPL-2.0

//! Files of `/dev/xen/evtchn` that a guest holds while it is saved and restored.
//!
//! Saving ends all channels of the domain, and restoring begins with none: what the files have are names of nothing.
//! They must stay usable, must not disturb channels that get the same numbers, and can be closed.

use std::fmt::Debug;
use std::fs;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Duration;

use crate::abi::evtchn::{self as abi, PortStatus};
use crate::device::evtchn::{Evtchn, Port};
use crate::resources::{is_report, KernelLog};
use crate::sys::{self, Errno};

/// How long something that should happen at once may take on a slow machine.
const SOON: Duration = Duration::from_secs(20);
/// How long to wait for what must not happen.
const NEVER: Duration = Duration::from_millis(200);
/// How many channels there are.
const IDLE: usize = 8;

/// What is held.
pub struct Held {
    file: Evtchn,
    /// Channels without events.
    idle: Vec<(Port, Port)>,
    /// An event came here, and nobody has read it.
    unread: (Port, Port),
    /// An event came here, and was read, but the port not written.
    masked: (Port, Port),
    /// A file that a reader waits at, and what it reads.
    waiting: Arc<Evtchn>,
    heard: Receiver<Port>,
    log: KernelLog,
}

type Result<T = ()> = std::result::Result<T, String>;

fn done<T>(result: sys::Result<T>, what: &str) -> Result<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn same<T: PartialEq + Debug>(found: T, expected: T, what: &str) -> Result {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: found {found:?}, expected {expected:?}"))
    }
}

/// Events go through a channel.
fn works(file: &Evtchn, (near, far): (Port, Port)) -> Result {
    for (from, to) in [(near, far), (far, near)].repeat(2) {
        done(file.notify(from), "notifying")?;
        same(file.next(SOON), Ok(to), "the port that is pending")?;
    }
    Ok(())
}

impl Held {
    /// Opens files and binds ports.
    pub fn new() -> Result<Self> {
        let log = done(KernelLog::from_now(), "the kernel's log")?;
        let file = done(Evtchn::open_nonblocking(), "opening")?;
        let loopback = || done(file.loopback(), "binding");
        let idle = (0..IDLE).map(|_| loopback()).collect::<Result<_>>()?;
        let (unread, masked) = (loopback()?, loopback()?);
        done(file.notify(masked.0), "notifying")?;
        same(file.wait(SOON), Ok(true), "an event")?;
        same(file.read(9), Ok(vec![masked.1]), "the pending ports")?;
        done(file.notify(unread.0), "notifying")?;
        same(file.wait(SOON), Ok(true), "an event")?;

        let waiting = Arc::new(done(Evtchn::open_nonblocking(), "opening")?);
        works(&waiting, done(waiting.loopback(), "binding")?)?;
        done(
            sys::set_status_flag(&*waiting, libc::O_NONBLOCK, false),
            "O_NONBLOCK",
        )?;
        let (says, heard) = channel();
        let reader = waiting.clone();
        std::thread::spawn(move || {
            while let Ok(ports) = reader.read(1) {
                let _ = reader.unmask(&ports);
                let sent = ports.iter().try_for_each(|&port| says.send(port));
                if sent.is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            file,
            idle,
            unread,
            masked,
            waiting,
            heard,
            log,
        })
    }

    /// After the guest was restored: nothing is left but the names, and all can begin anew.
    pub fn check(self) -> Result {
        let Self { file, idle, .. } = &self;
        let all = || idle.iter().chain([&self.unread, &self.masked]);
        // What came before is still to be read, once.
        same(
            file.read(99),
            Ok(vec![self.unread.1]),
            "the port that was pending",
        )?;
        for &(near, far) in all() {
            done(file.notify(near), "notifying a port that is no more")?;
            same(file.unmask(&[near, far]), Ok(8), "bytes written")?;
            let mut status = PortStatus {
                port: far,
                ..Default::default()
            };
            done(
                sys::ioctl_struct(file, abi::PORT_STATUS, &mut status),
                "the status of a port that is no more",
            )?;
            same(status.state, abi::STATE_CLOSED, "its state")?;
        }
        same(
            file.wait(NEVER),
            Ok(false),
            "an event of ports that are no more",
        )?;
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))
            .map_err(|error| error.to_string())?;
        let closed = text.lines().filter(|l| l.contains(" closed ")).count();
        same(closed, 2 * (IDLE + 2), "ports that fdinfo says are closed")?;

        // Another file gets the same numbers.
        let other = done(Evtchn::open_nonblocking(), "opening")?;
        let new = (0..IDLE)
            .map(|_| done(other.loopback(), "binding on another file"))
            .collect::<Result<Vec<_>>>()?;
        for &(near, far) in all() {
            let reused = new.iter().any(|&(a, b)| [a, b].contains(&near));
            match file.notify(near) {
                Ok(()) | Err(Errno(libc::ENOTCONN)) => {}
                Err(error) => return Err(format!("notifying, reused {reused}: {error}")),
            }
            done(file.unmask(&[near, far]), "unmasking")?;
            done(file.unbind(near), "unbinding")?;
            same(
                file.unbind(near),
                Err(Errno(libc::ENOTCONN)),
                "unbinding again",
            )?;
        }
        same(other.wait(NEVER), Ok(false), "an event by an old name")?;
        new.iter().try_for_each(|&both| works(&other, both))?;
        same(other.wait(NEVER), Ok(false), "more events")?;
        // So does the same file, as soon as they are free.
        drop(other);
        for _ in 0..IDLE {
            works(file, done(file.loopback(), "binding on the same file")?)?;
        }

        // Who waits goes on waiting, and is woken.
        same(self.heard.try_recv().ok(), None, "what the reader has read")?;
        let near = done(self.waiting.bind_unbound(super::SELF), "binding")?;
        let far = done(self.waiting.bind_interdomain(super::SELF, near), "binding")?;
        // The new end begins pending.
        for _ in 0..3 {
            same(
                self.heard.recv_timeout(SOON).ok(),
                Some(far),
                "what the reader has read",
            )?;
            done(self.waiting.notify(near), "notifying")?;
        }
        let log = self.log;
        drop((self.file, self.heard));
        // The reader leaves, as nobody hears it, and then the file goes.
        done(self.waiting.notify(near), "notifying")?;
        let last = || Arc::strong_count(&self.waiting) == 1;
        same(sys::eventually(SOON, last), true, "the reader has left")?;
        drop(self.waiting);
        let reports: Vec<_> = log
            .new_lines()
            .into_iter()
            .filter(|l| is_report(l))
            .collect();
        same(reports, Vec::new(), "the kernel's reports")
    }
}
