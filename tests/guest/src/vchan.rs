// SPDX-License-Identifier: GPL-2.0

//! Streams of bytes between domains by Xen's vchan-socket-proxy.
//!
//! The end that listens grants the rings, the other end maps them: dom0, or another guest. A guest has the program with
//! its libraries in a folder.
//!
//! When the program has been told that the other end is there, it waits for an event or for input before it first looks
//! into its ring. What comes until then may have come with the event that it was told by, as Xen keeps one bit for all:
//! a guest that does not run meanwhile finds one event, and the program would wait for ever. So whoever listens says
//! something first, and the other end sends nothing before it has heard that.

use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::daemons::tool;
use crate::ktap::line;
use crate::program;

/// Where a guest has the program.
pub const FOLDER: &str = "vchan";
const PROGRAM: &str = "vchan-socket-proxy";

/// Where the ends of a stream meet, below the guest's directory.
fn key(stream: usize) -> String {
    format!("data/vchan-{stream}")
}

/// How many bytes went by, and what they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub bytes: u64,
    /// A sum that depends on their order.
    pub sum: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sum = bytes.iter().fold(self.sum, |sum, &byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
    }
}

/// The sums of several streams, as the agent tells them.
pub fn text(sums: &[Sum]) -> String {
    sums.iter()
        .map(|sum| format!("{} {}", sum.bytes, sum.sum))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The program with all it loads, as files for a guest.
pub fn programs() -> Result<Vec<(String, Vec<u8>)>, String> {
    program::with_libraries(&[&tool(PROGRAM)])
}

/// What the end that listens says first.
const GREETING: [u8; 1] = *b"!";

/// Sends back what comes, in a guest.
#[derive(Debug)]
pub struct Echo {
    proxy: Child,
    pump: JoinHandle<io::Result<Sum>>,
}

impl Echo {
    /// Starts to listen for a domain, for the stream with this number.
    pub fn start(domain: u16, stream: usize) -> io::Result<Self> {
        let mut proxy = program::in_folder(FOLDER, PROGRAM)
            .args(["-m", "server", &domain.to_string(), &key(stream), "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(mut to), Some(mut from)) = (proxy.stdin.take(), proxy.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        to.write_all(&GREETING)?;
        let pump = std::thread::spawn(move || {
            let mut sum = Sum::default();
            let mut buffer = vec![0; 1 << 16];
            loop {
                let n = from.read(&mut buffer)?;
                if n == 0 {
                    return Ok(sum);
                }
                sum.add(&buffer[..n]);
                to.write_all(&buffer[..n])?;
            }
        });
        Ok(Self { proxy, pump })
    }

    /// Waits until the other end has gone; tells what came.
    pub fn end(mut self) -> Result<Sum, String> {
        self.proxy.wait().map_err(|e| e.to_string())?;
        match self.pump.join() {
            Ok(sum) => sum.map_err(|e| e.to_string()),
            Err(_) => Err("the pump panicked".into()),
        }
    }
}

/// Bytes that do not repeat.
struct Stream(u64);

impl Stream {
    fn new(number: usize) -> Self {
        Self(0x9e37_79b9_7f4a_7c15 ^ number as u64)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_exact_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            part.copy_from_slice(&self.0.to_ne_bytes());
        }
    }
}

/// How much is sent and compared in one go.
const CHUNK: usize = 1 << 14;
/// How much of the first stream comes back before it is told: whoever says nothing for minutes is taken to hang.
const TOLD: usize = 1 << 22;

/// Where the program is that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In Debian's folder, in dom0.
    Dom0,
    /// In a guest's own folder.
    Guest,
}

impl Place {
    fn program(self) -> Command {
        match self {
            Self::Dom0 => Command::new(tool(PROGRAM)),
            Self::Guest => program::in_folder(FOLDER, PROGRAM),
        }
    }
}

/// Sends bytes to a guest that sends them back, in several streams at once, and compares. Gives what was sent in each.
///
/// A ring is one page or less, so that one stream is forever waiting for the other end to be woken; many keep both at
/// work.
pub fn send_and_receive(
    from: Place,
    guest: u16,
    streams: usize,
    bytes: usize,
) -> Result<Vec<Sum>, String> {
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..streams)
            .map(|stream| scope.spawn(move || send_and_receive_one(from, guest, stream, bytes)))
            .collect();
        streams
            .into_iter()
            .map(|stream| {
                stream
                    .join()
                    .unwrap_or_else(|_| Err("a stream panicked".into()))
            })
            .collect()
    })
}

/// The program at this end is killed when all have come.
fn send_and_receive_one(
    from: Place,
    guest: u16,
    stream: usize,
    bytes: usize,
) -> Result<Sum, String> {
    let text = |e: io::Error| e.to_string();
    let mut proxy = from
        .program()
        .args(["-m", "client", &guest.to_string()])
        .arg(format!("/local/domain/{guest}/{}", key(stream)))
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let result = match (proxy.stdin.take(), proxy.stdout.take()) {
        (Some(to), Some(from)) => exchange(stream, to, from, bytes.next_multiple_of(CHUNK)),
        _ => Err("no pipes".into()),
    };
    let killed = proxy.kill().and_then(|()| proxy.wait());
    killed.map_err(text)?;
    result.map_err(|error| {
        let mut said = String::new();
        if let Some(mut from) = proxy.stderr.take() {
            // What was said is only to explain the error.
            let _ = from.read_to_string(&mut said);
        }
        format!("{error}; {}", said.trim())
    })
}

fn exchange(
    number: usize,
    mut to: impl Write + Send,
    mut from: impl Read,
    bytes: usize,
) -> Result<Sum, String> {
    let mut greeting = [0; GREETING.len()];
    from.read_exact(&mut greeting)
        .map_err(|e| format!("stream {number}, without a greeting: {e}"))?;
    if greeting != GREETING {
        return Err(format!("stream {number}: another greeting"));
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || -> io::Result<_> {
            let (mut stream, mut sum) = (Stream::new(number), Sum::default());
            let mut chunk = vec![0; CHUNK];
            for _ in 0..bytes / CHUNK {
                stream.fill(&mut chunk);
                sum.add(&chunk);
                to.write_all(&chunk)?;
            }
            // Kept until all has come back: its end would end the proxy.
            Ok((sum, to))
        });
        let mut stream = Stream::new(number);
        let (mut expected, mut chunk) = (vec![0; CHUNK], vec![0; CHUNK]);
        for done in 0..bytes / CHUNK {
            stream.fill(&mut expected);
            from.read_exact(&mut chunk)
                .map_err(|e| format!("stream {number}, after {} bytes: {e}", done * CHUNK))?;
            if chunk != expected {
                return Err(format!(
                    "stream {number}: other bytes came back after {}",
                    done * CHUNK
                ));
            }
            let done = (done + 1) * CHUNK;
            if number == 0 && done % TOLD == 0 {
                line(format_args!("# vchan: {done} of {bytes} bytes of a stream"));
            }
        }
        match writer.join() {
            Ok(Ok((sum, _to))) => Ok(sum),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the writer panicked".into()),
        }
    })
}
