// SPDX-License-Identifier: GPL-2.0

//! io_uring, by its system calls: a few requests at a time, without the tricks that make it fast.
//!
//! Header: Linux's `include/uapi/linux/io_uring.h`.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{fence, Ordering};
use std::time::Duration;

use crate::abi::plain_structs;
use crate::sys::{self, Errno, Mapping, Plain, Result};

plain_structs! {
    /// `struct io_sqring_offsets`, and `struct io_cqring_offsets` with other names for the last ones.
    struct Offsets = 40 {
        head: u32,
        tail: u32,
        mask: u32,
        entries: u32,
        /// Of the submissions the flags, of the completions how many overflowed.
        flags: u32,
        /// Of the submissions how many were dropped, of the completions where they are.
        dropped_or_cqes: u32,
        /// Of the submissions where the array of indices is.
        array: u32,
        pad: [u32; 3],
    }
    /// `struct io_uring_params`.
    struct Parameters = 120 {
        sq_entries: u32,
        cq_entries: u32,
        flags: u32,
        sq_thread_cpu: u32,
        sq_thread_idle: u32,
        features: u32,
        wq_fd: u32,
        pad: [u32; 3],
        submissions: Offsets,
        completions: Offsets,
    }
    /// `struct io_uring_sqe`.
    struct Submission = 64 {
        opcode: u8,
        flags: u8,
        ioprio: u16,
        fd: i32,
        offset: u64,
        addr: u64,
        len: u32,
        op_flags: u32,
        user_data: u64,
        pad: [u64; 3],
    }
    /// `struct io_uring_cqe`.
    struct Completion = 16 {
        user_data: u64,
        result: i32,
        flags: u32,
    }
}

const OFF_RINGS: u64 = 0;
const OFF_SUBMISSIONS: u64 = 0x1000_0000;
const FEAT_SINGLE_MMAP: u32 = 1 << 0;
const ENTER_GETEVENTS: u32 = 1 << 0;

const OP_READV: u8 = 1;
const OP_POLL_ADD: u8 = 6;
const OP_READ: u8 = 22;
const OP_WRITE: u8 = 23;

/// A ring for a few requests.
///
/// What a request reads or writes must stay where it is until the request is completed, or the ring gone.
#[derive(Debug)]
pub struct Uring {
    fd: OwnedFd,
    parameters: Parameters,
    rings: Mapping,
    submissions: Mapping,
}

impl Uring {
    /// Makes a ring. `ENOSYS` if the kernel has no io_uring.
    pub fn new() -> Result<Self> {
        let mut parameters = Parameters::default();
        // SAFETY: The structure is the call's, and writable.
        let fd = Errno::check(unsafe {
            libc::syscall(libc::SYS_io_uring_setup, 8, &raw mut parameters)
        })?;
        // SAFETY: The descriptor was made just now.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        if parameters.features & FEAT_SINGLE_MMAP == 0 {
            return Err(Errno(libc::ENOSYS));
        }
        let (sq, cq) = (&parameters.submissions, &parameters.completions);
        let len = (sq.array as usize + parameters.sq_entries as usize * 4).max(
            cq.dropped_or_cqes as usize + parameters.cq_entries as usize * size_of::<Completion>(),
        );
        let rings = Mapping::shared(&fd, len, OFF_RINGS)?;
        let len = parameters.sq_entries as usize * size_of::<Submission>();
        let submissions = Mapping::shared(&fd, len, OFF_SUBMISSIONS)?;
        Ok(Self {
            fd,
            parameters,
            rings,
            submissions,
        })
    }

    fn word(&self, at: u32) -> u32 {
        self.rings.read_at(at as usize)
    }

    fn enter(&self, submit: u32) -> Result<()> {
        // SAFETY: No addresses, but those of the requests.
        Errno::check(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.as_raw_fd(),
                submit,
                0,
                ENTER_GETEVENTS,
                0,
                0,
            )
        })
        .map(drop)
    }

    fn submit(&self, submission: &Submission) -> Result<()> {
        let sq = &self.parameters.submissions;
        let tail = self.word(sq.tail);
        let place = tail & self.word(sq.mask);
        self.submissions
            .write_at(place as usize * size_of::<Submission>(), submission);
        self.rings
            .write_at(sq.array as usize + place as usize * 4, &place);
        fence(Ordering::SeqCst);
        self.rings.write_at(sq.tail as usize, &tail.wrapping_add(1));
        fence(Ordering::SeqCst);
        self.enter(1)
    }

    fn transfer(
        &self,
        opcode: u8,
        fd: &impl AsRawFd,
        addr: usize,
        len: usize,
        op_flags: i32,
    ) -> Result<()> {
        self.submit(&Submission {
            opcode,
            op_flags: op_flags as u32,
            fd: fd.as_raw_fd(),
            // The file's own position, or none.
            offset: u64::MAX,
            addr: addr as u64,
            len: len as u32,
            user_data: addr as u64,
            ..Plain::zeroed()
        })
    }

    /// Begins to read into memory.
    pub fn read(&self, fd: &impl AsRawFd, into: &Mapping, len: usize) -> Result<()> {
        self.transfer(OP_READ, fd, into.addr(), len, 0)
    }

    /// Reads into memory what is there now.
    pub fn read_now(&self, fd: &impl AsRawFd, into: &Mapping, len: usize) -> Result<()> {
        self.transfer(OP_READ, fd, into.addr(), len, libc::RWF_NOWAIT)
    }

    /// Begins to read by way of a vector, which is at the beginning of the memory.
    pub fn read_vectored(&self, fd: &impl AsRawFd, vector: &Mapping, len: usize) -> Result<()> {
        self.transfer(OP_READV, fd, vector.addr(), len, 0)
    }

    /// Begins to write from memory.
    pub fn write(&self, fd: &impl AsRawFd, from: &Mapping, len: usize) -> Result<()> {
        self.transfer(OP_WRITE, fd, from.addr(), len, 0)
    }

    /// Begins to poll.
    pub fn poll(&self, fd: &impl AsRawFd, events: i16) -> Result<()> {
        self.submit(&Submission {
            opcode: OP_POLL_ADD,
            fd: fd.as_raw_fd(),
            op_flags: u32::from(events as u16),
            ..Plain::zeroed()
        })
    }

    /// The result of a request that is completed within the time: a number, or minus an error's.
    pub fn completed_within(&self, time: Duration) -> Result<Option<i32>> {
        let cq = &self.parameters.completions;
        let mut entered = Ok(());
        sys::eventually(time, || {
            // The kernel completes what it can while the process is in it.
            entered = self.enter(0);
            entered.is_err() || self.word(cq.head) != self.word(cq.tail)
        });
        entered?;
        fence(Ordering::SeqCst);
        let head = self.word(cq.head);
        if head == self.word(cq.tail) {
            return Ok(None);
        }
        let place = (head & self.word(cq.mask)) as usize;
        let completion: Completion = self
            .rings
            .read_at(cq.dropped_or_cqes as usize + place * size_of::<Completion>());
        fence(Ordering::SeqCst);
        self.rings.write_at(cq.head as usize, &head.wrapping_add(1));
        Ok(Some(completion.result))
    }
}
