// SPDX-License-Identifier: GPL-2.0

//! A xenstore client over `/dev/xen/xenbus`, whose protocol is in `xen/include/public/io/xs_wire.h`.

use std::os::fd::OwnedFd;

use crate::abi::DomId;
use crate::sys::{self, Errno, Result};

const READ: u32 = 2;
const WATCH: u32 = 4;
const INTRODUCE: u32 = 8;
const WRITE: u32 = 11;
const MKDIR: u32 = 12;
const RM: u32 = 13;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;

/// A connection.
#[derive(Debug)]
pub struct Xenstore {
    fd: OwnedFd,
    fired: bool,
}

impl Xenstore {
    /// Connects.
    pub fn open() -> Result<Self> {
        Self::open_path("/dev/xen/xenbus")
    }

    /// Connects through another file with the same operations.
    pub fn open_path(path: &str) -> Result<Self> {
        Ok(Self {
            fd: sys::open(path, libc::O_RDWR)?,
            fired: false,
        })
    }

    /// The value of a key.
    pub fn read(&mut self, path: &str) -> Result<String> {
        let value = self.request(READ, &[path.as_bytes(), b"\0"])?;
        Ok(String::from_utf8_lossy(&value).into_owned())
    }

    /// Sets a key.
    pub fn write(&mut self, path: &str, value: &str) -> Result<()> {
        self.request(WRITE, &[path.as_bytes(), b"\0", value.as_bytes()])
            .map(drop)
    }

    /// Makes a key without a value.
    pub fn mkdir(&mut self, path: &str) -> Result<()> {
        self.request(MKDIR, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Removes a key and all below it.
    pub fn remove(&mut self, path: &str) -> Result<()> {
        self.request(RM, &[path.as_bytes(), b"\0"]).map(drop)
    }

    /// Tells xenstore of a domain, whose page and port these are: it answers that one from now on.
    pub fn introduce(&mut self, domain: DomId, frame: u32, port: u32) -> Result<()> {
        let body = format!("{domain}\0{frame}\0{port}\0");
        self.request(INTRODUCE, &[body.as_bytes()]).map(drop)
    }

    /// Asks to be told when a key changes.
    pub fn watch(&mut self, path: &str) -> Result<()> {
        self.request(WATCH, &[path.as_bytes(), b"\0", b"watch\0"])
            .map(drop)
    }

    /// Waits until a watched key may have changed.
    pub fn wait(&mut self) -> Result<()> {
        while !self.fired {
            self.receive()?;
        }
        self.fired = false;
        Ok(())
    }

    fn request(&mut self, kind: u32, parts: &[&[u8]]) -> Result<Vec<u8>> {
        let body = parts.concat();
        let mut message = Vec::with_capacity(16 + body.len());
        for word in [kind, 0, 0, body.len() as u32] {
            message.extend_from_slice(&word.to_ne_bytes());
        }
        message.extend_from_slice(&body);
        sys::write(&self.fd, &message)?;
        loop {
            if let Some((answer, body)) = self.receive()? {
                return match answer {
                    ERROR => Err(errno_of(&body)),
                    _ => Ok(body),
                };
            }
        }
    }

    /// Receives a message; a watch's event is only noted.
    fn receive(&mut self) -> Result<Option<(u32, Vec<u8>)>> {
        let mut header = [0; 16];
        self.read_exactly(&mut header)?;
        let word =
            |i: usize| u32::from_ne_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let mut body = vec![0; word(12) as usize];
        self.read_exactly(&mut body)?;
        if word(0) == WATCH_EVENT {
            self.fired = true;
            return Ok(None);
        }
        Ok(Some((word(0), body)))
    }

    fn read_exactly(&self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            match sys::read(&self.fd, buffer)? {
                0 => return Err(Errno(libc::EIO)),
                n => buffer = buffer.split_at_mut(n).1,
            }
        }
        Ok(())
    }
}

fn errno_of(name: &[u8]) -> Errno {
    Errno(match name.strip_suffix(b"\0").unwrap_or(name) {
        b"ENOENT" => libc::ENOENT,
        b"EACCES" => libc::EACCES,
        b"EINVAL" => libc::EINVAL,
        b"EEXIST" => libc::EEXIST,
        _ => libc::EIO,
    })
}
