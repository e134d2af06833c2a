// SPDX-License-Identifier: GPL-2.0

//! Several processors at once: notifying, mapping and copying on one file, and each on a file of its own.
//!
//! The emulator runs its processors in turns, and its clock counts the instructions of all of them. So what the clock
//! has gone on by, divided by all operations, is what an operation takes of all processors together: where it stays
//! the same with more of them, nothing is done twice and nobody spins, and throughput grows with their number.

use std::ops::Range;
use std::sync::Barrier;

use xen_guest::abi::gntdev as abi;
use xen_guest::device::{Evtchn, Gntdev};
use xen_guest::sys::{self, Errno, Result};

use crate::clock::now;
use crate::measure::Report;
use crate::operations::gntdev::{CopyRequest, MapRequest};
use crate::partner::Partner;

/// How many grants are mapped together, and how many segments copied.
const TOGETHER: usize = 16;
/// How often everything is measured. The figure is the median.
const SAMPLES: usize = 3;

/// Whether threads have a file each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    Separate,
    One,
}

/// What one thread does.
trait Work: Send {
    fn once(&mut self) -> Result<()>;
}

/// Measures with 1, 2, 4... threads, each on a processor, up to `processors`.
pub fn measure(report: &mut Report, partner: &Partner, processors: usize) {
    for files in [Files::Separate, Files::One] {
        let evtchn = Evtchn::open();
        let gntdev = Gntdev::open();
        let (Ok(evtchn), Ok(gntdev)) = (evtchn, gntdev) else {
            return report.unsupported("scaling", "no device");
        };
        let steps = std::iter::successors(Some(1), |n| Some(n * 2));
        for threads in steps.take_while(|&n| n <= processors) {
            run(report, "notify", files, threads, 1000, |_| {
                Notifier::new(&evtchn, files, partner)
            });
            run(report, "map_16", files, threads, 50, |at| {
                Mapper::new(&gntdev, files, partner, at)
            });
            run(report, "copy_16", files, threads, 50, |at| {
                Copier::new(&gntdev, files, partner, at)
            });
        }
    }
}

fn run<W: Work>(
    report: &mut Report,
    name: &str,
    files: Files,
    threads: usize,
    times: u64,
    make: impl Fn(usize) -> Result<W>,
) {
    if !report.wants(&format!("scaling_{name}")) {
        return;
    }
    let files = match files {
        Files::Separate => "separate",
        Files::One => "one",
    };
    let name = format!("{name} {files} {threads}");
    match (0..threads).map(make).collect::<Result<Vec<W>>>() {
        Ok(mut works) => {
            let mut samples = Vec::new();
            // The first fills caches.
            for _ in 0..=SAMPLES {
                report.settle();
                match together(&mut works, times) {
                    Ok(time) => samples.push(time),
                    Err(error) => return report.unsupported(&name, error),
                }
            }
            samples.remove(0);
            samples.sort_unstable();
            let nanoseconds = samples[SAMPLES / 2] as f64;
            let each = nanoseconds / 2.0 / (times * threads as u64) as f64;
            report.line(format_args!(
                r#"{{"scaling":"{name}","instructions":{each:.1}}}"#
            ));
        }
        Err(error) => report.unsupported(&name, error),
    }
}

/// Lets each do its work so many times, each on a processor of its own. Returns how long all took, from when all were
/// ready to the end of the last.
fn together<W: Work>(works: &mut [W], times: u64) -> Result<u64> {
    let ready = Barrier::new(works.len());
    let spans = std::thread::scope(|scope| {
        let threads: Vec<_> = works
            .iter_mut()
            .enumerate()
            .map(|(processor, work)| {
                let ready = &ready;
                scope.spawn(move || -> Result<(u64, u64)> {
                    // Everybody waits at the barrier, whatever fails before.
                    let pinned = sys::run_on_cpu(processor);
                    ready.wait();
                    pinned?;
                    let start = now();
                    (0..times).try_for_each(|_| work.once())?;
                    Ok((start, now()))
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(Errno(libc::EIO))))
            .collect::<Result<Vec<_>>>()
    })?;
    let start = spans.iter().map(|span| span.0).min().unwrap_or(0);
    let end = spans.iter().map(|span| span.1).max().unwrap_or(0);
    Ok(end - start)
}

/// The shared file or one of its own.
enum Device<'a, T> {
    Shared(&'a T),
    Own(T),
}

impl<'a, T> Device<'a, T> {
    fn new(shared: &'a T, files: Files, open: impl Fn() -> Result<T>) -> Result<Self> {
        Ok(match files {
            Files::One => Self::Shared(shared),
            Files::Separate => Self::Own(open()?),
        })
    }

    fn get(&self) -> &T {
        match self {
            Self::Shared(device) => device,
            Self::Own(device) => device,
        }
    }
}

/// Sends events that nobody hears, from a port of its own.
struct Notifier<'a> {
    evtchn: Device<'a, Evtchn>,
    port: u32,
}

impl<'a> Notifier<'a> {
    fn new(shared: &'a Evtchn, files: Files, partner: &Partner) -> Result<Self> {
        let evtchn = Device::new(shared, files, Evtchn::open)?;
        let port = evtchn.get().bind_unbound(partner.domain.id().into())?;
        Ok(Self { evtchn, port })
    }
}

impl Work for Notifier<'_> {
    fn once(&mut self) -> Result<()> {
        self.evtchn.get().notify(self.port)
    }
}

impl Drop for Notifier<'_> {
    fn drop(&mut self) {
        let _ = self.evtchn.get().unbind(self.port);
    }
}

/// The grants of the thread with this number.
fn grants(at: usize) -> Range<usize> {
    at * TOGETHER..(at + 1) * TOGETHER
}

/// Maps grants of its own and unmaps them.
struct Mapper<'a> {
    gntdev: Device<'a, Gntdev>,
    request: MapRequest,
}

impl<'a> Mapper<'a> {
    fn new(shared: &'a Gntdev, files: Files, partner: &Partner, at: usize) -> Result<Self> {
        Ok(Self {
            gntdev: Device::new(shared, files, Gntdev::open)?,
            request: MapRequest::new(partner, grants(at))?,
        })
    }
}

impl Work for Mapper<'_> {
    fn once(&mut self) -> Result<()> {
        let gntdev = self.gntdev.get();
        let index = self.request.make(gntdev)?;
        gntdev.mmap(index, TOGETHER)?.unmap()?;
        self.request.drop_map(gntdev, index)
    }
}

/// Copies into grants of its own.
struct Copier<'a> {
    gntdev: Device<'a, Gntdev>,
    request: CopyRequest,
}

impl<'a> Copier<'a> {
    fn new(shared: &'a Gntdev, files: Files, partner: &Partner, at: usize) -> Result<Self> {
        Ok(Self {
            gntdev: Device::new(shared, files, Gntdev::open)?,
            request: CopyRequest::new(partner, grants(at), abi::COPY_DEST_GREF)?,
        })
    }
}

impl Work for Copier<'_> {
    fn once(&mut self) -> Result<()> {
        self.request.make(self.gntdev.get())?;
        self.request.outcome()
    }
}
