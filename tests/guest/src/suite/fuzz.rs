// SPDX-License-Identifier: GPL-2.0

//! Programs made by chance: threads of a process that open, use, map, unmap and close all devices at once, with good and
//! bad values, until they end or are killed.
//!
//! A program follows from its number alone, so it can be made again: `xen_rust.seed=NUMBER` begins with it, and
//! `xen_rust.seconds=N` says for how long programs follow. Only the order in which threads come is not repeated.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::gntdev::Grantor;
use crate::abi::{evtchn, gntdev, privcmd, DomId};
use crate::boot::{self, Words};
use crate::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use crate::ktap::{check, line, Suite, Test, TestResult};
use crate::sys::{self, Child, Errno, Exit, Mapping, PAGE};
use crate::xen::{BareDomain, Kind, XEN_VERSION};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "fuzz",
    tests: &[Test::new("programs", programs)
        .seconds(7 * 24 * 3600)
        .breaks_c("not made for it")],
};

/// Random numbers that follow from a seed: splitmix64.
#[derive(Clone, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number that is mostly small, and otherwise where things break.
    fn number(&mut self) -> u64 {
        match self.below(8) {
            0 => self.of(&[
                0x7f,
                0xfff,
                0x1000,
                0x7ff0,
                0xffff,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                1 << 44,
                1 << 52,
                u64::MAX >> 1,
                u64::MAX,
            ]),
            1 => self.next() >> self.below(64),
            _ => self.below(8) as u64,
        }
    }
}

/// A descriptor that other threads may close, or open anew, at any time.
struct Shared(AtomicI32);

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.0.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn replace(&self, fd: RawFd) {
        let old = self.0.swap(fd, Ordering::Relaxed);
        if old >= 0 {
            // SAFETY: The descriptor was this slot's, whoever may still be using its number: they get an error, or
            // another of the files that are only here to be tried.
            unsafe { libc::close(old) };
        }
    }
}

const FILES: usize = 8;
const RECENT: usize = 8;
/// Pages of address space where everything is mapped that a program maps.
const ARENA: usize = 96;
const THREADS: u64 = 3;
const STEPS: usize = 80;

/// What is on the other side of all programs.
struct Outside {
    grantors: Vec<Grantor>,
    /// Calls made by all programs.
    calls: Mapping,
}

/// What the threads of a program share.
struct World<'o> {
    outside: &'o Outside,
    evtchn: [Shared; FILES],
    gntdev: [Shared; FILES],
    privcmd: [Shared; FILES],
    other: [Shared; FILES],
    arena: Mapping,
    ports: [AtomicU64; RECENT],
    offsets: [AtomicU64; RECENT],
}

fn nobody() -> [Shared; FILES] {
    std::array::from_fn(|_| Shared(AtomicI32::new(-1)))
}

/// A thread of a program.
struct Hand<'w> {
    world: &'w World<'w>,
    chance: Chance,
    /// Where arguments are.
    memory: Mapping,
}

fn programs() -> TestResult {
    let words = Words::read();
    let number = |name: &str| words.get(name).and_then(|w| w.parse::<u64>().ok());
    let seconds = number("seconds").unwrap_or(if boot::long() { 60 } else { 2 });
    let first = number("seed").unwrap_or(1);
    let grantors = [Kind::Pv, Kind::Pvh]
        .into_iter()
        .map(|kind| Grantor::new(BareDomain::new(kind)?, 12))
        .collect::<TestResult<Vec<_>>>()?;
    let outside = Outside {
        grantors,
        calls: Mapping::new(
            PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            None,
            0,
        )?,
    };
    let begun = Instant::now();
    let mut seed = first;
    while begun.elapsed() < Duration::from_secs(seconds) {
        if (seed - first) % 16 == 0 {
            line(format_args!("# from seed={seed} on"));
        }
        one(&outside, seed)?;
        seed += 1;
    }
    line(format_args!(
        "# {} programs, {} calls",
        seed - first,
        outside.calls.read_at::<u64>(0)
    ));
    outside.grantors.into_iter().try_for_each(Grantor::released)
}

/// Makes a program run until it ends, or is killed in the middle.
fn one(outside: &Outside, seed: u64) -> TestResult {
    let mut chance = Chance(seed);
    let mut child = Child::fork(|| {
        run(outside, seed);
        0
    })?;
    child.lead_group();
    let patience = if chance.one_in(3) {
        Duration::from_millis(chance.below(60) as u64)
    } else {
        Duration::from_secs(4)
    };
    if child.wait_for(patience).is_none() {
        child.kill_group(libc::SIGKILL);
        let end: Option<Exit> = child.wait_for(Duration::from_secs(90));
        if end.is_none() {
            let stack =
                std::fs::read_to_string(format!("/proc/{}/stack", child.pid())).unwrap_or_default();
            std::mem::forget(child);
            return check(false, format_args!("seed={seed} cannot be killed\n{stack}"));
        }
    }
    Ok(())
}

fn run(outside: &Outside, seed: u64) {
    // SAFETY: Ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    let Ok(arena) = Mapping::anonymous(ARENA * PAGE) else {
        return;
    };
    let world = World {
        outside,
        evtchn: nobody(),
        gntdev: nobody(),
        privcmd: nobody(),
        other: nobody(),
        arena,
        ports: Default::default(),
        offsets: Default::default(),
    };
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let world = &world;
            scope.spawn(move || {
                let Ok(memory) = Mapping::anonymous(4 * PAGE) else {
                    return;
                };
                let mut hand = Hand {
                    world,
                    chance: Chance(seed.wrapping_mul(THREADS).wrapping_add(thread) << 20),
                    memory,
                };
                for _ in 0..STEPS {
                    // Whatever comes of it will do.
                    let _ = hand.step();
                }
            });
        }
    });
}

impl Hand<'_> {
    fn step(&mut self) -> sys::Result<()> {
        let world = self.world;
        let evtchn = &world.evtchn[self.chance.below(FILES)];
        let gntdev = &world.gntdev[self.chance.below(FILES)];
        let privcmd = &world.privcmd[self.chance.below(FILES)];
        match self.chance.below(10) {
            0 => self.open(),
            1 => self.memory(),
            2 => self.file(),
            3 | 4 => self.evtchn(evtchn),
            5..=7 => self.gntdev(gntdev),
            _ => self.privcmd(privcmd),
        }
    }

    fn count(&self) {
        // SAFETY: The page is shared by all programs, mapped while `outside` lives, and only ever used as an atomic
        // while programs run.
        let calls = unsafe { &*(self.world.outside.calls.addr() as *const AtomicU64) };
        calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes a request with whatever the argument says.
    fn ioctl(&self, fd: &Shared, request: u32, argument: usize) -> sys::Result<i64> {
        self.count();
        // SAFETY: Requests write to what their arguments name: memory for arguments, or the arena, to which no
        // reference is held, or what is not memory of this process.
        unsafe { sys::ioctl(fd, request, argument) }
    }

    /// Makes a request with a structure, or now and then with something else in its place.
    fn request<T: sys::Plain>(&mut self, fd: &Shared, request: u32, argument: T) -> sys::Result<T> {
        self.memory.write_at(0, &argument);
        let at = if self.chance.one_in(24) {
            self.address() as usize
        } else {
            self.memory.addr()
        };
        self.ioctl(fd, request, at)?;
        Ok(self.memory.read_at(0))
    }

    /// A page of the arena.
    fn place(&mut self) -> usize {
        self.world.arena.addr() + self.chance.below(ARENA) * PAGE
    }

    /// An address, good or bad.
    fn address(&mut self) -> u64 {
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

    /// A domain of ours, or none. Not this domain's memory, nor the machine's: programs write to what they map.
    fn domain(&mut self) -> DomId {
        match self.chance.below(8) {
            0 => self.chance.of(&[0x7fef, 0x7ff4, 0xffff]),
            n => self.world.outside.grantors[n % 2].id(),
        }
    }

    fn port(&mut self) -> u32 {
        if self.chance.one_in(6) {
            return self.chance.number() as u32;
        }
        self.world.ports[self.chance.below(RECENT)].load(Ordering::Relaxed) as u32
    }

    fn keep_port(&mut self, port: i64) {
        let slot = self.chance.below(RECENT);
        self.world.ports[slot].store(port as u64, Ordering::Relaxed);
    }

    fn reference(&mut self) -> u32 {
        if self.chance.one_in(6) {
            return self.chance.number() as u32;
        }
        let grantor = &self.world.outside.grantors[self.chance.below(2)];
        self.chance.of(&grantor.references)
    }

    fn offset(&mut self) -> u64 {
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

    fn open(&mut self) -> sys::Result<()> {
        let world = self.world;
        let (slots, path) = match self.chance.below(6) {
            0 | 1 => (&world.evtchn, Evtchn::PATH),
            2 | 3 => (&world.gntdev, Gntdev::PATH),
            4 => (&world.privcmd, Privcmd::PATH),
            _ => (
                &world.other,
                self.chance.of(&[
                    HypercallBuffer::PATH,
                    "/proc/xen/privcmd",
                    "/proc/xen/capabilities",
                    "/proc/xen/xensyms",
                    "/sys/kernel/debug/xen_privcmd/calls",
                    "/sys/devices/system/xen_memory/xen_memory0/info/current_kb",
                ]),
            ),
        };
        self.count();
        let slot = &slots[self.chance.below(FILES)];
        if self.chance.one_in(4) {
            slot.replace(-1);
        } else if self.chance.one_in(4) {
            // The same file twice.
            let from = slots[self.chance.below(FILES)].as_raw_fd();
            // SAFETY: Takes only a number.
            slot.replace(unsafe { libc::dup(from) });
        } else {
            let flags = self.chance.of(&[0, libc::O_NONBLOCK]) | libc::O_RDWR;
            let file = sys::open(path, flags).or_else(|_| sys::open(path, libc::O_RDONLY))?;
            slot.replace(file.into_raw_fd());
        }
        Ok(())
    }

    /// What can be done with any file.
    fn file(&mut self) -> sys::Result<()> {
        let world = self.world;
        let slots = [&world.evtchn, &world.gntdev, &world.privcmd, &world.other];
        let fd = &self.chance.of(&slots)[self.chance.below(FILES)];
        self.count();
        match self.chance.below(7) {
            0 => {
                let (here, there) = sys::socket_pair()?;
                sys::send_descriptor(&here, fd)?;
                if self.chance.one_in(2) {
                    fd.replace(sys::receive_descriptor(&there)?.into_raw_fd());
                }
            }
            1 => {
                let _ = std::fs::read(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
            }
            2 => {
                sys::own_signals(fd)?;
                sys::set_status_flag(fd, libc::O_ASYNC, self.chance.one_in(2))?;
            }
            3 => {
                sys::poll(fd, libc::POLLIN | libc::POLLOUT, Duration::ZERO)?;
            }
            4 => {
                let (at, length) = (self.address(), self.chance.number());
                // Files that wait are not waited for.
                sys::set_status_flag(fd, libc::O_NONBLOCK, true)?;
                // SAFETY: The kernel writes to memory for arguments, to the arena, or not at all.
                Errno::check(unsafe {
                    libc::pread(
                        fd.as_raw_fd(),
                        at as *mut c_void,
                        (length as usize).min(2 * PAGE),
                        self.chance.number() as i64 & 0xffff,
                    )
                } as i64)?;
            }
            5 => {
                // Mapped as it should not be.
                let (at, offset) = (self.place(), self.chance.number() << 12);
                let pages = 1 + self.chance.below(4);
                self.map(fd, at, pages, offset, libc::MAP_PRIVATE)?;
            }
            _ => {
                let (request, argument) = (self.chance.next() as u32, self.chance.next() as usize);
                self.ioctl(fd, request, argument)?;
            }
        }
        Ok(())
    }

    fn map(
        &mut self,
        fd: &Shared,
        at: usize,
        pages: usize,
        offset: u64,
        flags: i32,
    ) -> sys::Result<()> {
        let room = (self.world.arena.addr() + ARENA * PAGE - at) / PAGE;
        let prot = self.chance.of(&[
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::PROT_READ,
            libc::PROT_NONE,
        ]);
        self.count();
        // SAFETY: The place is in the arena, to which no reference is held.
        let addr = unsafe {
            libc::mmap(
                at as *mut c_void,
                pages.min(room) * PAGE,
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

    /// What can be done with memory.
    fn memory(&mut self) -> sys::Result<()> {
        let at = self.place();
        let room = (self.world.arena.addr() + ARENA * PAGE - at) / PAGE;
        let length = (1 + self.chance.below(6)).min(room) * PAGE;
        let address = at as *mut c_void;
        self.count();
        let result = match self.chance.below(8) {
            // SAFETY: This and the following are about the arena, to which no reference is held.
            0 => i64::from(unsafe {
                libc::mmap(
                    address,
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                    -1,
                    0,
                ) == libc::MAP_FAILED
            }),
            1 => {
                let prot = self.chance.of(&[0, 1, 3, 7]);
                // SAFETY: As above.
                unsafe { libc::mprotect(address, length, prot) }.into()
            }
            2 => {
                let advice = self.chance.of(&[
                    libc::MADV_DONTNEED,
                    libc::MADV_DONTFORK,
                    libc::MADV_DOFORK,
                    libc::MADV_COLD,
                    libc::MADV_PAGEOUT,
                    libc::MADV_FREE,
                    libc::MADV_REMOVE,
                    libc::MADV_MERGEABLE,
                    libc::MADV_WILLNEED,
                ]);
                // SAFETY: As above.
                unsafe { libc::madvise(address, length, advice) }.into()
            }
            3 => {
                let to = self.place();
                let flags = self.chance.of(&[
                    0,
                    libc::MREMAP_FIXED,
                    libc::MREMAP_DONTUNMAP | libc::MREMAP_FIXED,
                ]);
                let new = (1 + self.chance.below(6))
                    .min((self.world.arena.addr() + ARENA * PAGE - to) / PAGE)
                    * PAGE;
                // SAFETY: As above; both places are in the arena. What does not fit where it is stays.
                i64::from(
                    unsafe {
                        if flags == 0 {
                            libc::mremap(address, length, new.min(length), 0)
                        } else {
                            libc::mremap(
                                address,
                                length,
                                new,
                                flags | libc::MREMAP_MAYMOVE,
                                to as *mut c_void,
                            )
                        }
                    } == libc::MAP_FAILED,
                )
            }
            4 => {
                let (_read, write) = sys::pipe()?;
                // SAFETY: The kernel reads, and finds out for itself whether it can.
                unsafe { libc::write(write.as_raw_fd(), address, length.min(PAGE)) as i64 }
            }
            5 => {
                let (read, write) = sys::pipe()?;
                sys::write(&write, &[7; 64])?;
                // SAFETY: The kernel writes to the arena, if it can.
                unsafe { libc::read(read.as_raw_fd(), address, 64) as i64 }
            }
            6 => {
                // SAFETY: As above.
                unsafe {
                    libc::mlock(address, length);
                    libc::munlock(address, length).into()
                }
            }
            _ => {
                // SAFETY: The child makes system calls and touches the arena, which may end it.
                let pid = unsafe { libc::fork() };
                if pid == 0 {
                    for page in 0..ARENA {
                        // SAFETY: A page that is not there ends this process, as it may.
                        unsafe {
                            ((self.world.arena.addr() + page * PAGE) as *mut u8).read_volatile()
                        };
                    }
                    // SAFETY: Ends this process.
                    unsafe { libc::_exit(0) };
                }
                if pid > 0 && self.chance.one_in(2) {
                    // SAFETY: Our own child, which nobody else waits for.
                    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
                }
                0
            }
        };
        Errno::check(result).map(drop)
    }

    fn evtchn(&mut self, fd: &Shared) -> sys::Result<()> {
        let (port, domain) = (self.port(), u32::from(self.domain()));
        match self.chance.below(14) {
            0 | 1 => {
                self.memory.write_at(0, &domain);
                let bound = self.ioctl(fd, evtchn::BIND_UNBOUND_PORT, self.memory.addr())?;
                self.keep_port(bound);
            }
            2 | 3 => {
                let bind = evtchn::BindInterdomain {
                    remote_domain: self.chance.of(&[0, 0, domain]),
                    remote_port: port,
                };
                self.memory.write_at(0, &bind);
                let bound = self.ioctl(fd, evtchn::BIND_INTERDOMAIN, self.memory.addr())?;
                self.keep_port(bound);
            }
            4 => {
                let virq = self.chance.of(&[1, 8, 9, 15, 23, 24, 1000, u32::MAX]);
                self.memory.write_at(0, &virq);
                let bound = self.ioctl(fd, evtchn::BIND_VIRQ, self.memory.addr())?;
                self.keep_port(bound);
            }
            5 => {
                self.request(fd, evtchn::BIND_STATIC, port)?;
            }
            6 => {
                self.request(fd, evtchn::UNBIND, port)?;
            }
            7 | 8 => {
                self.request(fd, evtchn::NOTIFY, port)?;
            }
            9 => {
                self.ioctl(fd, evtchn::RESET, 0)?;
            }
            10 if self.chance.one_in(6) => {
                self.request(fd, evtchn::RESTRICT_DOMID, domain as DomId)?;
            }
            10 => {
                let status = evtchn::PortStatus {
                    port,
                    ..sys::Plain::zeroed()
                };
                self.request(fd, evtchn::PORT_STATUS, status)?;
            }
            11 => {
                let vcpu = self.chance.number() as u32;
                self.request(fd, evtchn::PORT_SET_VCPU, evtchn::PortVcpu { port, vcpu })?;
            }
            12 => {
                sys::set_status_flag(fd, libc::O_NONBLOCK, true)?;
                let (at, length) = (
                    self.address(),
                    self.chance.of(&[0, 3, 4, 6, 64, 4096, 1 << 20]),
                );
                self.count();
                // SAFETY: The kernel writes to the arguments' memory but for its first page, to the arena, or not at
                // all.
                Errno::check(
                    unsafe { libc::read(fd.as_raw_fd(), at as *mut c_void, length) } as i64,
                )?;
            }
            _ => {
                let ports: Vec<u8> = (0..self.chance.below(20))
                    .flat_map(|_| self.port().to_ne_bytes())
                    .collect();
                self.count();
                sys::write(fd, &ports)?;
            }
        }
        Ok(())
    }

    fn gntdev(&mut self, fd: &Shared) -> sys::Result<()> {
        match self.chance.below(16) {
            0..=2 => {
                let count = 1 + self.chance.below(6);
                for i in 0..count {
                    let grant = gntdev::GrantRef {
                        domid: self.domain().into(),
                        reference: self.reference(),
                    };
                    self.memory.write_at(16 + 8 * i, &grant);
                }
                let count = if self.chance.one_in(10) {
                    self.chance.number() as u32
                } else {
                    count as u32
                };
                let map = gntdev::MapGrantRef {
                    count,
                    pad: 0,
                    index: 0,
                };
                self.memory.write_at(0, &map);
                self.ioctl(fd, gntdev::MAP_GRANT_REF, self.memory.addr())?;
                let index = self.memory.read_at::<gntdev::MapGrantRef>(0).index;
                self.world.offsets[self.chance.below(RECENT)].store(index, Ordering::Relaxed);
            }
            3..=6 => {
                let (at, offset) = (self.place(), self.offset());
                let pages = 1 + self.chance.below(6);
                self.map(fd, at, pages, offset, libc::MAP_SHARED)?;
            }
            7 => {
                let unmap = gntdev::UnmapGrantRef {
                    index: self.offset(),
                    count: 1 + self.chance.below(6) as u32,
                    pad: 0,
                };
                self.request(fd, gntdev::UNMAP_GRANT_REF, unmap)?;
            }
            8 => {
                let ask = gntdev::GetOffsetForVaddr {
                    vaddr: self.address(),
                    ..sys::Plain::zeroed()
                };
                self.request(fd, gntdev::GET_OFFSET_FOR_VADDR, ask)?;
            }
            9 => {
                let notify = gntdev::UnmapNotify {
                    index: self.offset().wrapping_add(self.chance.below(PAGE) as u64),
                    action: self.chance.of(&[0, 1, 2, 3, 3, 4, u32::MAX]),
                    event_channel_port: self.port(),
                };
                self.request(fd, gntdev::SET_UNMAP_NOTIFY, notify)?;
            }
            10..=12 => {
                let count = 1 + self.chance.below(10);
                for i in 0..count {
                    let segment = self.segment();
                    self.memory.write_at(2 * PAGE + 24 * i, &segment);
                }
                let copy = gntdev::GrantCopy {
                    count: count as u32,
                    pad: 0,
                    segments: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, gntdev::GRANT_COPY, copy)?;
            }
            13 => {
                let export = gntdev::DmabufExport {
                    flags: self.chance.of(&[0, 0, 1, 2, 3, u32::MAX]),
                    count: self.chance.of(&[1, 1, 1, 0, 2, u32::MAX]),
                    fd: 0,
                    domid: self.domain().into(),
                    reference: self.reference(),
                };
                let made = self.request(fd, gntdev::DMABUF_EXP_FROM_REFS, export)?;
                self.world.other[self.chance.below(FILES)].replace(made.fd as RawFd);
            }
            14 => {
                let other = self.world.other[self.chance.below(FILES)].as_raw_fd() as u32;
                match self.chance.below(3) {
                    0 => {
                        let import = gntdev::DmabufImport {
                            fd: other,
                            count: 1,
                            domid: self.domain().into(),
                            reserved: 0,
                            reference: 0,
                        };
                        self.request(fd, gntdev::DMABUF_IMP_TO_REFS, import)?;
                    }
                    1 => {
                        let release = gntdev::DmabufRelease {
                            fd: other,
                            reserved: 0,
                        };
                        self.request(fd, gntdev::DMABUF_IMP_RELEASE, release)?;
                    }
                    _ => {
                        let wait = gntdev::DmabufWait {
                            fd: other,
                            wait_to_ms: self.chance.below(5) as u32,
                        };
                        self.request(fd, gntdev::DMABUF_EXP_WAIT_RELEASED, wait)?;
                    }
                }
            }
            _ if self.chance.one_in(6) => {
                let domain = self.domain();
                self.request(fd, gntdev::RESTRICT, domain)?;
            }
            _ => {
                let most = self.chance.number() as u32;
                self.request(fd, gntdev::SET_MAX_GRANTS, most)?;
            }
        }
        Ok(())
    }

    fn segment(&mut self) -> gntdev::CopySegment {
        let flags = self.chance.of(&[0, 1, 1, 1, 2, 2, 3, 4]);
        let mut end = |is_grant: bool| {
            if is_grant {
                let offset = self.chance.of(&[0, 0, 8, 4000, 4095, 5000]);
                gntdev::CopyEnd::grant(self.domain(), self.reference(), offset)
            } else {
                gntdev::CopyEnd::local(self.address() as usize)
            }
        };
        let source = end(flags & gntdev::COPY_SOURCE_GREF != 0);
        let dest = end(flags & gntdev::COPY_DEST_GREF != 0);
        gntdev::CopySegment {
            source,
            dest,
            len: self.chance.of(&[0, 1, 64, 96, 4095, 4096, 4097, u16::MAX]),
            flags,
            status: 0,
            pad: 0,
        }
    }

    fn privcmd(&mut self, fd: &Shared) -> sys::Result<()> {
        let dom = self.domain();
        match self.chance.below(16) {
            0..=3 => {
                let at = self.place();
                let pages = 1 + self.chance.below(8);
                let other = &self.world.other[self.chance.below(FILES)];
                let fd = if self.chance.one_in(4) { other } else { fd };
                self.map(fd, at, pages, 0, libc::MAP_SHARED)?;
            }
            4..=7 => {
                let num = 1 + self.chance.below(8);
                for i in 0..num {
                    let frames = &self.world.outside.grantors[self.chance.below(2)].frames;
                    let frame = if self.chance.one_in(8) {
                        self.chance.number()
                    } else {
                        self.chance.of(frames)
                    };
                    self.memory.write_at(2 * PAGE + 8 * i, &frame);
                }
                let num = if self.chance.one_in(10) {
                    self.chance.number() as u32
                } else {
                    num as u32
                };
                let addr = self.place() as u64;
                let arr = (self.memory.addr() + 2 * PAGE) as u64;
                if self.chance.one_in(3) {
                    let batch = privcmd::MmapBatch {
                        num: num as i32,
                        dom,
                        pad: 0,
                        addr,
                        arr,
                    };
                    self.request(fd, privcmd::MMAPBATCH, batch)?;
                } else {
                    let batch = privcmd::MmapBatchV2 {
                        num,
                        dom,
                        pad: 0,
                        addr,
                        arr,
                        err: self.address(),
                    };
                    self.request(fd, privcmd::MMAPBATCH_V2, batch)?;
                }
            }
            8 => {
                let entry = privcmd::MmapEntry {
                    va: self.place() as u64,
                    mfn: self.chance.of(&self.world.outside.grantors[0].frames),
                    npages: self.chance.number(),
                };
                self.memory.write_at(2 * PAGE, &entry);
                let map = privcmd::Mmap {
                    num: self.chance.of(&[1, 1, 1, 0, -1, 2]),
                    dom,
                    pad: 0,
                    entry: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, privcmd::MMAP, map)?;
            }
            9 | 10 => {
                let resource = privcmd::MmapResource {
                    dom,
                    pad: 0,
                    kind: self.chance.of(&[0, 1, 1, 1, 2, u32::MAX]),
                    id: self.chance.of(&[0, 0, 0, 1, u32::MAX]),
                    idx: self.chance.of(&[0, 0, 1, 31, u32::MAX]),
                    num: self.chance.of(&[0, 1, 1, 2, 4, 33, u64::MAX]),
                    addr: self.chance.of(&[0, 1, 1, 1]) * self.place() as u64,
                };
                self.request(fd, privcmd::MMAP_RESOURCE, resource)?;
            }
            11 => {
                let num = self.chance.below(4);
                for i in 0..num {
                    let buffer = privcmd::DmOpBuf {
                        uptr: self.address(),
                        size: self.chance.of(&[0, 4, 48, 48, 4096, 4097, u64::MAX]),
                    };
                    self.memory.write_at(2 * PAGE + 16 * i, &buffer);
                }
                // The number of vCPUs, or nothing: what changes a domain is not for chance.
                self.memory
                    .write_at(PAGE, &[self.chance.of(&[20_u32, 9999]), 0]);
                let operation = privcmd::DmOp {
                    dom,
                    num: num as u16,
                    pad: 0,
                    ubufs: (self.memory.addr() + 2 * PAGE) as u64,
                };
                self.request(fd, privcmd::DM_OP, operation)?;
            }
            12 => {
                let eventfd = sys::eventfd()?;
                self.memory.write_at(PAGE, &[20_u32, 0]);
                let irqfd = privcmd::Irqfd {
                    dm_op: (self.memory.addr() + PAGE) as u64,
                    size: self.chance.of(&[48, 48, 0, 4096, 4097, u32::MAX]),
                    fd: eventfd.as_raw_fd() as u32,
                    flags: self.chance.of(&[0, 0, 0, 1, 2]),
                    dom,
                    pad: [0; 2],
                };
                self.request(fd, privcmd::IRQFD, irqfd)?;
                let _ = sys::write(&eventfd, &1_u64.to_ne_bytes());
                if self.chance.one_in(2) {
                    let take_back = privcmd::Irqfd {
                        flags: privcmd::DEASSIGN,
                        ..irqfd
                    };
                    self.request(fd, privcmd::IRQFD, take_back)?;
                }
            }
            13 => {
                let eventfd = sys::eventfd()?;
                let ports = [self.port(), self.port()];
                self.memory.write_at(PAGE, &ports);
                let ioeventfd = privcmd::Ioeventfd {
                    ioreq: self.place() as u64,
                    ports: (self.memory.addr() + PAGE) as u64,
                    addr: self.chance.number(),
                    addr_len: self.chance.of(&[1, 2, 4, 8, 3]),
                    event_fd: eventfd.as_raw_fd() as u32,
                    vcpus: self.chance.of(&[1, 1, 2, 0, 200, u32::MAX]),
                    vq: self.chance.number() as u32,
                    flags: self.chance.of(&[0, 0, 1, 2]),
                    dom,
                    pad: [0; 2],
                };
                self.request(fd, privcmd::IOEVENTFD, ioeventfd)?;
            }
            14 if self.chance.one_in(6) => {
                self.request(fd, privcmd::RESTRICT, dom)?;
            }
            14 => {
                let ask = privcmd::PcidevGetGsi {
                    sbdf: self.chance.number() as u32,
                    gsi: 0,
                };
                self.request(fd, privcmd::PCIDEV_GET_GSI, ask)?;
            }
            _ => {
                // Xen's version, and calls that it does not have.
                let call = privcmd::Hypercall {
                    op: self
                        .chance
                        .of(&[XEN_VERSION, XEN_VERSION, 60, 1 << 33, u64::MAX]),
                    arg: [0; 5],
                };
                // Never read from elsewhere, where it might be any: number 0 takes a PV kernel's trap table away.
                self.memory.write_at(0, &call);
                self.ioctl(fd, privcmd::HYPERCALL, self.memory.addr())?;
            }
        }
        Ok(())
    }
}
