// SPDX-License-Identifier: GPL-2.0

//! What of the drivers' code programs have reached, where the kernel tells (KCOV: the sanitizer kernels).
//!
//! Each thread has the places that the kernel notes of its system calls in a buffer, and after each step adds them to
//! maps that all programs share. What a thread that was killed has left in its buffer is added after its end.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::{self, Mapping, Result, PAGE};

const KCOV: &str = "/sys/kernel/debug/kcov";
const INIT_TRACE: u32 = 0x8008_6301;
const ENABLE: u32 = 0x6364;
/// Note the address of each place.
const TRACE_PC: usize = 0;

/// Words of a thread's buffer: the number of places, and the places.
const WORDS: usize = 16 * 1024;
/// Bits of a map.
const BITS: u32 = 20;

/// The maps, and a buffer for each thread.
pub struct Coverage {
    traces: Vec<Trace>,
    /// Places that have been reached.
    places: Map,
    /// Places that have been reached after one another.
    pairs: Map,
}

struct Trace {
    file: OwnedFd,
    buffer: Mapping,
}

/// A set of what hashes to its bits, with their number behind it.
struct Map(Mapping);

impl Map {
    const WORDS: usize = 1 << (BITS - 6);

    fn new() -> Result<Self> {
        Mapping::new(
            Self::WORDS * 8 + PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            None,
            0,
        )
        .map(Self)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        // SAFETY: Within the mapping, which lives as long as `self` and is only ever used as atomics.
        unsafe { &*((self.0.addr() + index * 8) as *const AtomicU64) }
    }

    fn add(&self, hash: u64) {
        let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - BITS);
        let (word, bit) = (self.word((hash >> 6) as usize), 1 << (hash & 63));
        if word.load(Ordering::Relaxed) & bit == 0
            && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
        {
            self.word(Self::WORDS).fetch_add(1, Ordering::Relaxed);
        }
    }

    fn len(&self) -> u64 {
        self.word(Self::WORDS).load(Ordering::Relaxed)
    }
}

impl Coverage {
    /// Begins, if the kernel can.
    pub fn open(threads: usize) -> Option<Self> {
        let trace = || -> Result<Trace> {
            let file = sys::open(KCOV, libc::O_RDWR)?;
            // SAFETY: The argument is a number.
            unsafe { sys::ioctl(&file, INIT_TRACE, WORDS) }?;
            let buffer = Mapping::shared(&file, WORDS * 8, 0)?;
            Ok(Trace { file, buffer })
        };
        let traces: Result<Vec<_>> = (0..threads).map(|_| trace()).collect();
        Some(Self {
            traces: traces.ok()?,
            places: Map::new().ok()?,
            pairs: Map::new().ok()?,
        })
    }

    /// Has the kernel note what this thread reaches from now on.
    pub fn follow(&self, thread: usize) {
        // SAFETY: The argument is a number. Where this is refused, nothing is noted.
        let _ = unsafe { sys::ioctl(&self.traces[thread].file, ENABLE, TRACE_PC) };
    }

    /// Adds what a thread has reached since the last time.
    pub fn add(&self, thread: usize) {
        let buffer = &self.traces[thread].buffer;
        let count = buffer.read_at::<u64>(0).min(WORDS as u64 - 1) as usize;
        let mut before = 0_u64;
        for i in 1..=count {
            let place = buffer.read_at::<u64>(8 * i);
            self.places.add(place);
            self.pairs.add(place ^ before.rotate_left(20));
            before = place;
        }
        buffer.write_at(0, &0_u64);
    }

    /// Adds what threads have left that have ended.
    pub fn add_rest(&self) {
        (0..self.traces.len()).for_each(|thread| self.add(thread));
    }

    /// How many places have been reached.
    pub fn places(&self) -> u64 {
        self.places.len()
    }

    /// How many places have been reached after one another, two each.
    pub fn pairs(&self) -> u64 {
        self.pairs.len()
    }
}
