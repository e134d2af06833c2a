// SPDX-License-Identifier: GPL-2.0

//! What the threads of a program share, and what each of them has.

use std::fmt::{self, Display};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::chance::Chance;
use super::outside::{Outside, Side};
use super::program::THREADS;
use super::steps::Settings;
use crate::abi::DomId;
use crate::device::{Evtchn, Gntdev, Privcmd};
use crate::sys::{self, Alarm, Errno, Mapping, PAGE};

/// Descriptors of each kind.
const FILES: usize = 6;
/// Ports and offsets that are kept.
const RECENT: usize = 8;
/// Pages of address space where everything is mapped that a program maps.
pub const ARENA: usize = 96;
/// Where they are: so far below all else that the kernel puts nothing else there, even where a program leaves a hole.
const ARENA_ADDRESS: usize = 0x1000_0000_0000;

/// A descriptor that other threads may close, or open anew, at any time.
pub struct Shared {
    fd: AtomicI32,
    kind: &'static str,
    number: usize,
}

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.load(Ordering::Relaxed)
    }
}

impl Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.kind, self.number)
    }
}

impl Shared {
    fn all(kind: &'static str) -> [Self; FILES] {
        std::array::from_fn(|number| Self {
            fd: AtomicI32::new(-1),
            kind,
            number,
        })
    }

    /// Puts another descriptor in the place of the one that was there, or none.
    pub fn replace(&self, fd: RawFd) {
        let old = self.fd.swap(fd, Ordering::Relaxed);
        if old >= 0 {
            // SAFETY: The descriptor was this slot's, whoever may still be using its number: they get an error, or
            // another of the files that are only here to be tried.
            unsafe { libc::close(old) };
        }
    }
}

/// What the threads of a program share.
pub struct World<'o> {
    /// The other side.
    pub outside: &'o Outside,
    /// What all programs share.
    pub common: &'o Common,
    /// Files of a kind.
    pub evtchn: [Shared; FILES],
    /// The same.
    pub gntdev: [Shared; FILES],
    /// The same.
    pub privcmd: [Shared; FILES],
    /// Files of all other kinds.
    pub other: [Shared; FILES],
    /// The threads, as the kernel numbers them.
    pub threads: [AtomicI32; THREADS],
    arena: Mapping,
    ports: [AtomicU64; RECENT],
    offsets: [AtomicU64; RECENT],
}

impl<'o> World<'o> {
    /// A fresh one, with a file of each device.
    pub fn new(outside: &'o Outside, common: &'o Common) -> sys::Result<Self> {
        let world = Self {
            outside,
            common,
            evtchn: Shared::all("evtchn"),
            gntdev: Shared::all("gntdev"),
            privcmd: Shared::all("privcmd"),
            other: Shared::all("other"),
            threads: Default::default(),
            arena: Mapping::anonymous_at(ARENA_ADDRESS, ARENA * PAGE)?,
            ports: Default::default(),
            offsets: Default::default(),
        };
        for (slots, path) in [
            (&world.evtchn, Evtchn::PATH),
            (&world.gntdev, Gntdev::PATH),
            (&world.privcmd, Privcmd::PATH),
        ] {
            slots[0].replace(sys::open(path, libc::O_RDWR)?.into_raw_fd());
        }
        Ok(world)
    }

    /// The address of the arena's page of a number.
    pub fn page(&self, number: usize) -> usize {
        self.arena.addr() + number * PAGE
    }
}

/// What all programs share, in memory that outlives them.
pub struct Common {
    memory: Mapping,
    /// Where what is done is said, if it is.
    console: Option<OwnedFd>,
    /// What can be set, as it was.
    pub settings: Settings,
}

impl Common {
    /// Fresh memory, and the settings as they are now. Each call is said on the console, if one is given.
    pub fn new(console: Option<OwnedFd>) -> sys::Result<Self> {
        let memory = Mapping::new(
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            None,
            0,
        )?;
        Ok(Self {
            memory,
            console,
            settings: Settings::now(),
        })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        // SAFETY: Within the page, which lives as long as `self` and is only ever used as atomics.
        unsafe { &*((self.memory.addr() + index * 8) as *const AtomicU64) }
    }

    /// Calls made by all programs.
    pub fn calls(&self) -> u64 {
        self.word(0).load(Ordering::Relaxed)
    }

    /// Says that a setting of the system has been changed, which others than this program see.
    pub fn unsettle(&self) {
        self.word(1).store(1, Ordering::Relaxed);
    }

    /// Whether one has been changed since this was asked.
    pub fn is_unsettled(&self) -> bool {
        self.word(1).swap(0, Ordering::Relaxed) != 0
    }
}

/// A thread of a program.
pub struct Hand<'w> {
    /// What it shares.
    pub world: &'w World<'w>,
    /// Which of the threads it is.
    pub thread: usize,
    /// The step that it makes.
    pub number: u32,
    /// What follows from that.
    pub chance: Chance,
    /// Where arguments are.
    pub memory: Mapping,
    /// What interrupts the thread, once it has wanted that.
    pub alarm: Option<Alarm>,
    /// Whether nobody else sees what the thread mounts.
    pub has_own_mounts: bool,
}

/// A request of a device: what it is called, and its number.
#[derive(Clone, Copy)]
pub struct Request(pub &'static str, pub u32);

impl Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .split_whitespace()
            .try_for_each(|part| f.write_str(part))
    }
}

/// A request by the path of its constant.
macro_rules! request {
    ($($path:ident)::+) => {
        $crate::suite::fuzz::world::Request(stringify!($($path)::+), $($path)::+)
    };
}
pub(crate) use request;

impl<'w> Hand<'w> {
    /// Counts a call that is about to be made, and says what it is where that is wanted.
    pub fn call(&self, what: fmt::Arguments<'_>) {
        let common = self.world.common;
        common.word(0).fetch_add(1, Ordering::Relaxed);
        if let Some(console) = &common.console {
            let text = format!("fuzz does {} {:08x} {what}\n", self.thread, self.number);
            let _ = sys::write(console, text.as_bytes());
        }
    }

    /// Makes a request with whatever the argument says.
    pub fn ioctl(&self, fd: &Shared, request: Request, argument: usize) -> sys::Result<i64> {
        if argument == self.memory.addr() {
            let words = self.memory.read_at::<[u32; 10]>(0);
            self.call(format_args!("ioctl {fd} {request} words {words:x?}"));
        } else {
            self.call(format_args!("ioctl {fd} {request} {argument:#x}"));
        }
        // SAFETY: Requests write to what their arguments name: memory for arguments, or the arena, to which no
        // reference is held, or what is not memory of this process.
        unsafe { sys::ioctl(fd, request.1, argument) }
    }

    /// Makes a request with a structure, or now and then with something else in its place.
    pub fn request<T: sys::Plain + fmt::Debug>(
        &mut self,
        fd: &Shared,
        request: Request,
        argument: T,
    ) -> sys::Result<T> {
        self.memory.write_at(0, &argument);
        if self.chance.one_in(24) {
            let at = self.address();
            self.call(format_args!("ioctl {fd} {request} at {at:#x}"));
            // SAFETY: As above.
            unsafe { sys::ioctl(fd, request.1, at as usize) }?;
        } else {
            self.call(format_args!("ioctl {fd} {request} {argument:x?}"));
            // SAFETY: As above.
            unsafe { sys::ioctl(fd, request.1, self.memory.addr()) }?;
        }
        Ok(self.memory.read_at(0))
    }

    /// A slot for a descriptor. The first, where a file is from the start, comes more often.
    pub fn slot(&mut self, slots: &'w [Shared; FILES]) -> &'w Shared {
        if self.chance.one_in(3) {
            &slots[0]
        } else {
            &slots[self.chance.below(FILES)]
        }
    }

    /// A slot of any kind.
    pub fn any_slot(&mut self) -> &'w Shared {
        let world = self.world;
        let slots = [&world.evtchn, &world.gntdev, &world.privcmd, &world.other];
        let slots = self.chance.of(&slots);
        self.slot(slots)
    }

    /// A page of the arena.
    pub fn place(&mut self) -> usize {
        // What is done at one place meets what is done at others only if there are not too many.
        let end = self.chance.of(&[8, 24, ARENA]);
        self.world.page(self.chance.below(end))
    }

    /// Pages of the arena, from a place on.
    pub fn pages(&mut self, at: usize, most: usize) -> usize {
        (1 + self.chance.below(most)).min(self.room(at))
    }

    /// All pages of the arena, from a place on.
    pub fn room(&self, at: usize) -> usize {
        (self.world.page(ARENA) - at) / PAGE
    }

    /// An address, good or bad.
    pub fn address(&mut self) -> u64 {
        match self.chance.below(12) {
            0 => self.chance.of(&[
                0,
                8,
                0x7fff_ffff_f000,
                0x8000_0000_0000,
                0xffff_8880_0000_0000,
                u64::MAX - 100,
                u64::MAX,
            ]),
            1 => (self.place() + self.chance.below(PAGE)) as u64,
            2..=5 => (self.memory.addr() + PAGE) as u64,
            _ => self.place() as u64,
        }
    }

    /// A domain of ours.
    pub fn side(&mut self) -> &'w Side {
        let sides = &self.world.outside.sides;
        &sides[self.chance.below(sides.len())]
    }

    /// A domain of ours, or none. Not this domain's memory, nor the machine's: programs write to what they map.
    pub fn domain(&mut self) -> DomId {
        match self.chance.below(10) {
            0 => self.chance.of(&[0x7fef, 0x7ff4, 0xffff]),
            _ => self.side().id,
        }
    }

    /// Mostly a given domain, else another, or none: not one that runs, whose other memory is not for writing.
    pub fn mostly(&mut self, side: &Side) -> DomId {
        if !self.chance.one_in(12) {
            return side.id;
        }
        let bare = self.world.outside.bare();
        let other = bare[self.chance.below(bare.len())].id;
        self.chance.of(&[other, 0x7fef, 0xffff])
    }

    /// A grant: the domain, mostly the right one, and the reference.
    pub fn grant(&mut self) -> (DomId, u32) {
        let side = self.side();
        (self.mostly(side), self.reference(side))
    }

    /// A reference of a domain, mostly of a grant. A domain that runs has others, which it lives on.
    pub fn reference(&mut self, side: &Side) -> u32 {
        match self.chance.below(12) {
            0 if !side.runs => self.chance.number() as u32,
            0 => u32::MAX,
            _ => self.chance.of(&side.references),
        }
    }

    /// A port, mostly one that a program has been given.
    pub fn port(&mut self) -> u32 {
        if self.chance.one_in(6) {
            return self.chance.number() as u32;
        }
        self.world.ports[self.chance.below(RECENT)].load(Ordering::Relaxed) as u32
    }

    /// Remembers a port.
    pub fn keep_port(&mut self, port: i64) {
        let slot = self.chance.below(RECENT);
        self.world.ports[slot].store(port as u64, Ordering::Relaxed);
    }

    /// An offset, mostly one that a program has been given.
    pub fn offset(&mut self) -> u64 {
        let offset = if self.chance.one_in(8) {
            self.chance.number()
        } else {
            self.world.offsets[self.chance.below(RECENT)].load(Ordering::Relaxed)
        };
        if self.chance.one_in(6) {
            offset.wrapping_add(PAGE as u64)
        } else {
            offset
        }
    }

    /// Remembers an offset.
    pub fn keep_offset(&mut self, offset: u64) {
        let slot = self.chance.below(RECENT);
        self.world.offsets[slot].store(offset, Ordering::Relaxed);
    }

    /// Maps a file to a place in the arena.
    pub fn map(
        &mut self,
        fd: &Shared,
        at: usize,
        pages: usize,
        offset: u64,
        flags: i32,
    ) -> sys::Result<()> {
        let prot = self.chance.of(&[
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ,
            libc::PROT_NONE,
        ]);
        self.call(format_args!(
            "mmap {fd} at {at:#x} pages {pages} offset {offset:#x} prot {prot} flags {flags:#x}"
        ));
        // SAFETY: The place is in the arena, to which no reference is held.
        let addr = unsafe {
            libc::mmap(
                at as *mut libc::c_void,
                pages * PAGE,
                prot,
                flags | libc::MAP_FIXED,
                fd.as_raw_fd(),
                offset as i64,
            )
        };
        if addr == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(())
    }
}
