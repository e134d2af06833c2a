// SPDX-License-Identifier: GPL-2.0

//! System calls as safe functions.
//!
//! Everything here reports failure as the [`Errno`] that the kernel gave, because the tests compare it.

use std::ffi::{c_int, c_void, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Bytes in a page of memory, and in a frame as Xen counts them.
pub const PAGE: usize = 4096;

/// An error number of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub c_int);

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

impl Errno {
    /// The error of the system call that just failed on this thread.
    pub fn last() -> Self {
        Self(io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Turns a system call's return value into a result: negative is an error.
    pub fn check(value: impl Into<i64>) -> Result<i64> {
        let value = value.into();
        if value < 0 {
            Err(Self::last())
        } else {
            Ok(value)
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::EPERM => "EPERM",
            libc::ENOENT => "ENOENT",
            libc::EINTR => "EINTR",
            libc::EIO => "EIO",
            libc::E2BIG => "E2BIG",
            libc::EBADF => "EBADF",
            libc::EAGAIN => "EAGAIN",
            libc::ENOMEM => "ENOMEM",
            libc::EACCES => "EACCES",
            libc::EFAULT => "EFAULT",
            libc::EBUSY => "EBUSY",
            libc::EEXIST => "EEXIST",
            libc::ENODEV => "ENODEV",
            libc::EINVAL => "EINVAL",
            libc::ENOTTY => "ENOTTY",
            libc::EFBIG => "EFBIG",
            libc::ENOSPC => "ENOSPC",
            libc::ESPIPE => "ESPIPE",
            libc::ERANGE => "ERANGE",
            libc::ENOSYS => "ENOSYS",
            libc::EOPNOTSUPP => "EOPNOTSUPP",
            libc::EISCONN => "EISCONN",
            libc::ENOTCONN => "ENOTCONN",
            libc::ETIMEDOUT => "ETIMEDOUT",
            other => return write!(f, "errno {other}"),
        };
        f.write_str(name)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<io::Error> for Errno {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

fn c_string(text: &str) -> CString {
    // A name with a NUL inside cannot exist; the part before it is then simply not found.
    CString::new(text.split('\0').next().unwrap_or("")).unwrap_or_default()
}

/// Opens a file with `open(2)`'s flags; close-on-exec is always added.
pub fn open(path: &str, flags: c_int) -> Result<OwnedFd> {
    let path = c_string(path);
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    let fd = Errno::check(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })?;
    // SAFETY: The kernel just gave this descriptor to us; no one else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Calls `ioctl(2)` with a pointer or number as argument.
///
/// # Safety
///
/// If `arg` points to memory of this program, it must point to what the request reads and writes.
/// (A pointer to nothing is fine: the kernel answers EFAULT.)
pub unsafe fn ioctl(fd: &impl AsRawFd, request: u32, arg: usize) -> Result<i64> {
    // SAFETY: By the contract of this function.
    Errno::check(i64::from(unsafe {
        libc::ioctl(fd.as_raw_fd(), u64::from(request), arg)
    }))
}

/// Calls `ioctl(2)` with a structure that the request may read and write.
pub fn ioctl_struct<T: Plain>(fd: &impl AsRawFd, request: u32, arg: &mut T) -> Result<i64> {
    // SAFETY: The argument is a live, writable structure of the size that is part of the request's number.
    unsafe { ioctl(fd, request, std::ptr::from_mut(arg) as usize) }
}

/// Calls `ioctl(2)` with an address that no memory of this program has.
pub fn ioctl_bad_pointer(fd: &impl AsRawFd, request: u32) -> Result<i64> {
    // SAFETY: The first page is never mapped, so there is nothing that could be overwritten.
    unsafe { ioctl(fd, request, 8) }
}

/// Calls `ioctl(2)` with a read-only structure: what the request writes back has no place to go.
pub fn ioctl_read_only<T: Plain>(fd: &impl AsRawFd, request: u32, arg: &T) -> Result<i64> {
    let page = Mapping::anonymous(PAGE)?;
    page.write_at(0, arg);
    page.protect(libc::PROT_READ)?;
    // SAFETY: The page holds the structure; a write to it faults and changes nothing.
    unsafe { ioctl(fd, request, page.addr()) }
}

/// A structure of plain bytes: no pointers of Rust, no padding that matters, every pattern valid.
///
/// # Safety
///
/// Implementors are `repr(C)` and valid for every bit pattern.
pub unsafe trait Plain: Copy {
    /// A value of all zeros.
    fn zeroed() -> Self {
        // SAFETY: Every bit pattern is valid.
        unsafe { std::mem::zeroed() }
    }
}

// SAFETY: Integers are valid for every bit pattern.
unsafe impl Plain for u8 {}
// SAFETY: As above.
unsafe impl Plain for u16 {}
// SAFETY: As above.
unsafe impl Plain for u32 {}
// SAFETY: As above.
unsafe impl Plain for u64 {}
// SAFETY: As above.
unsafe impl Plain for i32 {}
// SAFETY: An array of plain values is plain.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A range of address space that is unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    addr: usize,
    len: usize,
}

impl Mapping {
    /// Calls `mmap(2)` at an address of the kernel's choice.
    pub fn new(
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: Option<RawFd>,
        offset: u64,
    ) -> Result<Self> {
        // SAFETY: The address is the kernel's choice, so no mapping that is in use is replaced.
        let addr = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                prot,
                flags,
                fd.unwrap_or(-1),
                offset as i64,
            )
        };
        if addr == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self {
            addr: addr as usize,
            len,
        })
    }

    /// Fresh private memory, zeroed.
    pub fn anonymous(len: usize) -> Result<Self> {
        Self::new(
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            None,
            0,
        )
    }

    /// Fresh private memory at an address where nothing is.
    pub fn anonymous_at(addr: usize, len: usize) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: No mapping that is in use is replaced.
        let found = unsafe { libc::mmap(addr as *mut c_void, len, prot, flags, -1, 0) };
        if found == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { addr, len })
    }

    /// A shared, writable mapping of a file.
    pub fn shared(fd: &impl AsRawFd, len: usize, offset: u64) -> Result<Self> {
        Self::new(
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            Some(fd.as_raw_fd()),
            offset,
        )
    }

    /// The first address.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left of the mapping.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn check(&self, offset: usize, size: usize) -> *mut u8 {
        assert!(
            offset.checked_add(size).is_some_and(|end| end <= self.len),
            "outside the mapping"
        );
        (self.addr + offset) as *mut u8
    }

    /// Reads a value; the memory may be shared with others, so each call reads it anew.
    pub fn read_at<T: Plain>(&self, offset: usize) -> T {
        // SAFETY: In bounds by `check`; mapped while `self` lives; every bit pattern is valid.
        unsafe {
            self.check(offset, size_of::<T>())
                .cast::<T>()
                .read_volatile()
        }
    }

    /// Writes a value.
    pub fn write_at<T: Plain>(&self, offset: usize, value: &T) {
        // SAFETY: As for `read_at`; no reference into the mapping is ever handed out.
        unsafe {
            self.check(offset, size_of::<T>())
                .cast::<T>()
                .write_volatile(*value)
        }
    }

    /// Fills the whole range with one byte.
    pub fn fill(&self, byte: u8) {
        // SAFETY: The range is mapped while `self` lives and no reference into it exists.
        unsafe { std::ptr::write_bytes(self.addr as *mut u8, byte, self.len) }
    }

    /// Copies a part of the range out.
    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        (0..len).map(|i| self.read_at::<u8>(offset + i)).collect()
    }

    /// Whether a page of the range can be read, without dying when it cannot.
    pub fn readable(&self, offset: usize) -> bool {
        probe(self.check(offset, 1) as usize)
    }

    /// Unmaps a part of the range with `munmap(2)`; what is left still goes when `self` is dropped.
    pub fn unmap_part(&self, offset: usize, len: usize) -> Result<()> {
        let addr = self.check(offset, len);
        // SAFETY: The part belongs to this mapping. Later accesses to it fault, which the caller has to expect.
        Errno::check(unsafe { libc::munmap(addr.cast(), len) }).map(drop)
    }

    /// Puts a shared, writable mapping of a file in the place of a part of the range.
    pub fn replace(&self, at: usize, len: usize, fd: &impl AsRawFd, offset: u64) -> Result<()> {
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        self.map_over(at, len, prot, flags, fd.as_raw_fd(), offset)
    }

    /// Puts nothing in the place of a part of the range, where nothing else will come to be.
    pub fn clear(&self, at: usize, len: usize) -> Result<()> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        self.map_over(at, len, libc::PROT_NONE, flags, -1, 0)
    }

    fn map_over(
        &self,
        at: usize,
        len: usize,
        prot: c_int,
        flags: c_int,
        fd: RawFd,
        offset: u64,
    ) -> Result<()> {
        let place = self.check(at, len).cast();
        // SAFETY: The part belongs to this mapping, and no reference into it exists.
        let addr = unsafe { libc::mmap(place, len, prot, flags, fd, offset as i64) };
        if addr == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(())
    }

    /// Calls `mprotect(2)` on the range.
    pub fn protect(&self, prot: c_int) -> Result<()> {
        // SAFETY: The range belongs to this mapping and no reference into it exists.
        Errno::check(unsafe { libc::mprotect(self.addr as *mut c_void, self.len, prot) }).map(drop)
    }

    /// Calls `madvise(2)` on the range.
    pub fn advise(&self, advice: c_int) -> Result<()> {
        // SAFETY: As for `protect`.
        Errno::check(unsafe { libc::madvise(self.addr as *mut c_void, self.len, advice) }).map(drop)
    }

    /// Calls `madvise(2)` on a part of the range.
    pub fn advise_part(&self, offset: usize, len: usize, advice: c_int) -> Result<()> {
        let addr = self.check(offset, len);
        // SAFETY: As for `protect`.
        Errno::check(unsafe { libc::madvise(addr.cast(), len, advice) }).map(drop)
    }

    /// Moves the mapping to a place of the kernel's choice with `mremap(2)`, as long as `len` says.
    pub fn remap(&mut self, len: usize) -> Result<()> {
        // SAFETY: The old range is ours and no reference into it exists.
        let addr = unsafe {
            libc::mremap(
                self.addr as *mut c_void,
                self.len,
                len,
                libc::MREMAP_MAYMOVE,
            )
        };
        self.moved(addr, len)
    }

    /// Moves the mapping away from where it is, keeping its length.
    pub fn move_away(&mut self) -> Result<()> {
        let place = Self::anonymous(self.len)?;
        // SAFETY: The old range is ours, the new one is `place`, which is given up.
        let addr = unsafe {
            libc::mremap(
                self.addr as *mut c_void,
                self.len,
                self.len,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                place.addr as *mut c_void,
            )
        };
        if addr != libc::MAP_FAILED {
            std::mem::forget(place);
        }
        self.moved(addr, self.len)
    }

    fn moved(&mut self, addr: *mut c_void, len: usize) -> Result<()> {
        if addr == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        self.addr = addr as usize;
        self.len = len;
        Ok(())
    }

    /// Unmaps the whole range and tells whether the kernel agreed.
    pub fn unmap(self) -> Result<()> {
        let result = self.unmap_part(0, self.len);
        std::mem::forget(self);
        result
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The range is ours and no reference into it exists.
        unsafe { libc::munmap(self.addr as *mut c_void, self.len) };
    }
}

/// Copies memory of this process by way of its pages, as another process would with `process_vm_readv(2)`.
pub fn read_own_memory(addr: usize, buffer: &mut [u8]) -> Result<usize> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: addr as *mut c_void,
        iov_len: buffer.len(),
    };
    // SAFETY: The first vector is the buffer, which is live; of the other the kernel checks the addresses.
    let n = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Whether the byte at an address can be read, asked of the kernel so that a bad address does no harm.
pub fn probe(addr: usize) -> bool {
    let Ok((_read, write)) = pipe() else {
        return false;
    };
    // SAFETY: The kernel checks the address; a bad one gives EFAULT.
    unsafe { libc::write(write.as_raw_fd(), addr as *const c_void, 1) == 1 }
}

/// Makes a pipe: the reading end and the writing end.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: The array has room for two descriptors.
    Errno::check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: Both descriptors were just given to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Reads into a buffer once.
pub fn read(fd: &impl AsRawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: The buffer is live and as long as said.
    let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Writes a buffer once.
pub fn write(fd: &impl AsRawFd, buffer: &[u8]) -> Result<usize> {
    // SAFETY: The buffer is live and as long as said.
    let n = unsafe { libc::write(fd.as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Reads into several buffers with `readv(2)`.
pub fn read_vectored(fd: &impl AsRawFd, buffers: &mut [&mut [u8]]) -> Result<usize> {
    let vectors: Vec<libc::iovec> = buffers
        .iter_mut()
        .map(|b| libc::iovec {
            iov_base: b.as_mut_ptr().cast(),
            iov_len: b.len(),
        })
        .collect();
    // SAFETY: Each vector describes a live buffer.
    let n = unsafe { libc::readv(fd.as_raw_fd(), vectors.as_ptr(), vectors.len() as c_int) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Writes several buffers with `writev(2)`.
pub fn write_vectored(fd: &impl AsRawFd, buffers: &[&[u8]]) -> Result<usize> {
    let vectors: Vec<libc::iovec> = buffers
        .iter()
        .map(|b| libc::iovec {
            iov_base: b.as_ptr().cast_mut().cast(),
            iov_len: b.len(),
        })
        .collect();
    // SAFETY: Each vector describes a live buffer, which writev only reads.
    let n = unsafe { libc::writev(fd.as_raw_fd(), vectors.as_ptr(), vectors.len() as c_int) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Reads `buffer.len()` bytes to or from a place, as `pread(2)`.
pub fn read_at(fd: &impl AsRawFd, buffer: &mut [u8], offset: i64) -> Result<usize> {
    // SAFETY: The buffer is live and as long as said.
    let n = unsafe {
        libc::pread(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            offset,
        )
    };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Calls `lseek(2)` from the start of the file.
pub fn seek(fd: &impl AsRawFd, offset: i64) -> Result<i64> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::lseek(fd.as_raw_fd(), offset, libc::SEEK_SET) })
}

/// Adds to or removes from the status flags of an open file.
pub fn set_status_flag(fd: &impl AsRawFd, flag: c_int, on: bool) -> Result<()> {
    // SAFETY: Takes only numbers.
    let flags = Errno::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) })? as c_int;
    let flags = if on { flags | flag } else { flags & !flag };
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }).map(drop)
}

/// Makes this process the one that gets SIGIO of a file.
pub fn own_signals(fd: &impl AsRawFd) -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETOWN, libc::getpid()) }).map(drop)
}

/// Gives a file another number, too, under which it is kept over exec.
pub fn duplicate_to(fd: &impl AsRawFd, number: RawFd) -> Result<()> {
    // SAFETY: Takes only numbers; the caller has nothing else under that one.
    Errno::check(unsafe { libc::dup2(fd.as_raw_fd(), number) }).map(drop)
}

/// Lets a descriptor stay open over `execve`.
pub fn keep_over_exec(fd: &impl AsRawFd) -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }).map(drop)
}

/// Polls one file for all events; what came, or 0 after the time.
pub fn poll(fd: &impl AsRawFd, events: i16, timeout: Duration) -> Result<i16> {
    let mut entry = libc::pollfd {
        fd: fd.as_raw_fd(),
        events,
        revents: 0,
    };
    // SAFETY: One live entry.
    Errno::check(unsafe { libc::poll(&mut entry, 1, timeout.as_millis() as c_int) })?;
    Ok(entry.revents)
}

/// Makes an eventfd with a count of zero.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: Takes only numbers.
    let fd = Errno::check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
    // SAFETY: The descriptor was just given to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Blocks signals and makes a descriptor that is readable when one is pending.
pub fn signalfd(signal: c_int) -> Result<OwnedFd> {
    // SAFETY: The set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal);
        Errno::check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &set,
            std::ptr::null_mut(),
        ))?;
        let fd = Errno::check(libc::signalfd(
            -1,
            &set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// How a child process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
}

/// Has a signal interrupt what this process waits for, and do nothing else.
pub fn handle_signal(signal: c_int) -> Result<()> {
    extern "C" fn nothing(_signal: c_int) {}
    on_signal(signal, nothing)
}

/// Has a signal end this process, without the kernel telling of it.
pub fn leave_on_signal(signal: c_int) -> Result<()> {
    extern "C" fn leave(_signal: c_int) {
        // SAFETY: Ends this process.
        unsafe { libc::_exit(0) }
    }
    on_signal(signal, leave)
}

fn on_signal(signal: c_int, handler: extern "C" fn(c_int)) -> Result<()> {
    // SAFETY: All zeroes are a valid value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    // SAFETY: The action is a live variable, and its handler may run at any time.
    Errno::check(unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) }).map(drop)
}

/// A child process that is killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Forks; the child runs `body` and exits with what it returns.
    ///
    /// The caller must be single-threaded, since only the forking thread lives on in the child.
    pub fn fork(body: impl FnOnce() -> i32) -> Result<Self> {
        // SAFETY: The child runs ordinary code, which is sound in a single-threaded process; it leaves by _exit,
        // so nothing of the parent is torn down twice.
        let pid = Errno::check(unsafe { libc::fork() })? as libc::pid_t;
        if pid == 0 {
            let status =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: Ends this process.
            unsafe { libc::_exit(status) };
        }
        Ok(Self { pid })
    }

    /// The process number.
    pub fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Makes the child the leader of its own process group.
    pub fn lead_group(&self) {
        // SAFETY: Takes only numbers. Failing means that the child has done it itself or is gone.
        unsafe { libc::setpgid(self.pid, self.pid) };
    }

    /// Sends a signal.
    pub fn kill(&self, signal: c_int) {
        // SAFETY: Takes only numbers; the child is not reaped yet, so the number is still its own.
        unsafe { libc::kill(self.pid, signal) };
    }

    /// Sends a signal to the child's process group.
    pub fn kill_group(&self, signal: c_int) {
        // SAFETY: As above.
        unsafe { libc::kill(-self.pid, signal) };
    }

    /// Waits for the end for at most the time given.
    pub fn wait_for(&mut self, time: Duration) -> Option<Exit> {
        let deadline = Instant::now() + time;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(exit) = self.reap(libc::WNOHANG) {
                return Some(exit);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// As [`Child::wait_for`], but told by the kernel: for who makes many that end soon.
    pub fn ends_within(&mut self, time: Duration) -> Option<Exit> {
        // SAFETY: Takes only numbers.
        let fd = Errno::check(unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) });
        if let Ok(fd) = fd {
            // SAFETY: The descriptor was just given to us.
            let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
            let _ = poll(&fd, libc::POLLIN, time);
            return self.reap(libc::WNOHANG);
        }
        self.wait_for(time)
    }

    /// Takes no more care of it: for one that does not end.
    pub fn leave(&mut self) {
        self.pid = 0;
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Exit {
        loop {
            if let Some(exit) = self.reap(0) {
                return exit;
            }
        }
    }

    fn reap(&mut self, flags: c_int) -> Option<Exit> {
        let mut status = 0;
        // SAFETY: The status is a live variable.
        let pid = unsafe { libc::waitpid(self.pid, &mut status, flags) };
        if pid == 0 || (pid < 0 && Errno::last() == Errno(libc::EINTR)) {
            return None;
        }
        self.pid = 0;
        Some(if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Status(libc::WEXITSTATUS(status))
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid != 0 {
            self.kill(libc::SIGKILL);
            self.reap(0);
        }
    }
}

/// Sends a signal to a process, if it is there.
pub fn kill(pid: libc::pid_t, signal: c_int) {
    // SAFETY: Takes only numbers.
    unsafe { libc::kill(pid, signal) };
}

/// Reaps every child that has ended, for a process that inherits orphans.
pub fn reap_orphans() {
    // SAFETY: Takes no memory of ours.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Mounts a file system; one that is mounted there already is no error.
pub fn mount(source: &str, target: &str, kind: &str) -> Result<()> {
    let (source, target, kind) = (c_string(source), c_string(target), c_string(kind));
    // SAFETY: All strings are NUL-terminated and live; there is no data.
    let result = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    match Errno::check(result) {
        Err(Errno(libc::EBUSY)) => Ok(()),
        other => other.map(drop),
    }
}

/// Unmounts a file system.
pub fn unmount(target: &str) -> Result<()> {
    unmount_with(target, 0)
}

/// Takes a file system out of sight; it stays for who has a file of it open.
pub fn detach(target: &str) -> Result<()> {
    unmount_with(target, libc::MNT_DETACH)
}

fn unmount_with(target: &str, flags: i32) -> Result<()> {
    let target = c_string(target);
    // SAFETY: The string is NUL-terminated and live.
    Errno::check(unsafe { libc::umount2(target.as_ptr(), flags) }).map(drop)
}

/// Has this thread see its own file systems: what is mounted from here on, nobody else sees.
pub fn unshare_mounts() -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let (none, root) = (c_string("none"), c_string("/"));
    // SAFETY: All strings are NUL-terminated and live; there is no data.
    Errno::check(unsafe {
        libc::mount(
            none.as_ptr(),
            root.as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_PRIVATE,
            std::ptr::null(),
        )
    })
    .map(drop)
}

/// Loads a kernel module from a file.
pub fn load_module(path: &str, parameters: &str) -> Result<()> {
    let file = open(path, libc::O_RDONLY)?;
    let parameters = c_string(parameters);
    // SAFETY: The descriptor and the string are live.
    Errno::check(unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    })
    .map(drop)
}

/// Unloads a kernel module; one in use is EAGAIN or EBUSY.
pub fn unload_module(name: &str) -> Result<()> {
    let name = c_string(name);
    // SAFETY: The string is NUL-terminated and live.
    Errno::check(unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) })
        .map(drop)
}

/// Turns the machine off. Returns only if the kernel refuses.
pub fn power_off() -> Errno {
    // SAFETY: Takes only numbers.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    Errno::last()
}

/// Locks all memory of this process in place, now and later.
pub fn lock_memory() -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) }).map(drop)
}

/// Drops a capability from this process, effective and permitted.
pub fn drop_capability(capability: u32) -> Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: Header and data have the layout of version 3 of capget(2).
    Errno::check(unsafe { libc::syscall(libc::SYS_capget, &header, sets.as_mut_ptr()) })?;
    let (half, bit) = ((capability / 32) as usize, capability % 32);
    for set in &mut sets[half] {
        *set &= !(1 << bit);
    }
    // SAFETY: As above.
    Errno::check(unsafe { libc::syscall(libc::SYS_capset, &header, sets.as_ptr()) }).map(drop)
}

/// The kernel's release, as `uname -r` says.
pub fn kernel_release() -> String {
    // SAFETY: uname fills the structure, whose fields are NUL-terminated.
    unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&mut name);
        std::ffi::CStr::from_ptr(name.release.as_ptr())
            .to_string_lossy()
            .into_owned()
    }
}

/// How many CPUs are online.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Has this thread run on one CPU only.
pub fn run_on_cpu(cpu: usize) -> Result<()> {
    // SAFETY: The set is plain data, and as large as said.
    Errno::check(unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    })
    .map(drop)
}

/// The kernel's number of this thread.
pub fn thread_id() -> i32 {
    // SAFETY: Takes nothing.
    unsafe { libc::gettid() }
}

/// Sends a signal to a thread of this process.
pub fn signal_thread(thread: i32, signal: c_int) -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) })
        .map(drop)
}

/// A clock that sends this thread a signal.
#[derive(Debug)]
pub struct Alarm {
    timer: libc::timer_t,
}

impl Alarm {
    /// One that is not set yet.
    pub fn new(signal: c_int) -> Result<Self> {
        let mut timer = std::ptr::null_mut();
        // SAFETY: All zeroes are a valid value; the timer's name is stored in a live variable.
        Errno::check(unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal;
            event.sigev_notify_thread_id = libc::gettid();
            libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer)
        })?;
        Ok(Self { timer })
    }

    /// Has it send the signal after a time, and again and again after another if that is not zero.
    pub fn set(&self, first: Duration, then: Duration) -> Result<()> {
        let spec = |time: Duration| libc::timespec {
            tv_sec: time.as_secs() as libc::time_t,
            tv_nsec: time.subsec_nanos().into(),
        };
        let times = libc::itimerspec {
            it_interval: spec(then),
            it_value: spec(first),
        };
        // SAFETY: The timer is ours, the times are live.
        Errno::check(unsafe { libc::timer_settime(self.timer, 0, &times, std::ptr::null_mut()) })
            .map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: The timer is ours.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// Names this thread, of which the kernel keeps 15 bytes.
pub fn name_thread(name: &str) -> Result<()> {
    let name = std::ffi::CString::new(name).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: The name ends with a NUL.
    Errno::check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) }).map(drop)
}

/// Tries until a condition holds or the time is up; tells whether it held.
pub fn eventually(time: Duration, condition: impl FnMut() -> bool) -> bool {
    retry(time, Duration::from_millis(50), condition)
}

/// Makes this process the parent of those below it whose own parent ends.
pub fn adopt_orphans() -> Result<()> {
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Takes note of the end of a child, if it has ended. It may be anything.
pub fn reap(pid: i32) {
    // SAFETY: The status is not asked for.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
}

/// As [`eventually`], for what takes long and whose question costs time that others need.
pub fn in_the_end(time: Duration, condition: impl FnMut() -> bool) -> bool {
    retry(time, Duration::from_secs(1), condition)
}

fn retry(time: Duration, most: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    let mut pause = Duration::from_millis(1);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(most);
    }
}

/// An epoll instance that watches one file.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    /// Watches a file.
    pub fn new(file: &impl AsRawFd, events: u32) -> Result<Self> {
        // SAFETY: Takes only numbers.
        let fd = Errno::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: The descriptor was just given to us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let epoll = Self { fd };
        let mut event = libc::epoll_event { events, u64: 0 };
        // SAFETY: The event is live for the call.
        Errno::check(unsafe {
            libc::epoll_ctl(
                epoll.fd.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                file.as_raw_fd(),
                &mut event,
            )
        })?;
        Ok(epoll)
    }

    /// Waits for events; none after the time.
    pub fn wait(&self, time: Duration) -> Result<u32> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: There is room for one event.
        let n = Errno::check(unsafe {
            libc::epoll_wait(
                self.fd.as_raw_fd(),
                &mut event,
                1,
                time.as_millis() as c_int,
            )
        })?;
        Ok(if n > 0 { event.events } else { 0 })
    }
}

/// Makes two connected sockets.
pub fn socket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: The array has room for two descriptors.
    Errno::check(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            0,
            fds.as_mut_ptr(),
        )
    })?;
    // SAFETY: Both descriptors were just given to us.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A message of one byte with room for one descriptor beside it.
fn with_message<R>(use_it: impl FnOnce(&mut libc::msghdr) -> R) -> R {
    let mut byte = 0_u8;
    let mut control = [0_u64; 4];
    let mut part = libc::iovec {
        iov_base: std::ptr::from_mut(&mut byte).cast(),
        iov_len: 1,
    };
    // SAFETY: All zeros is a message of nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: Takes only a number.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<RawFd>() as u32) } as usize;
    use_it(&mut message)
}

/// Sends a descriptor over a socket.
pub fn send_descriptor(socket: &impl AsRawFd, fd: &impl AsRawFd) -> Result<()> {
    with_message(|message| {
        // SAFETY: The control buffer has room for one header with one descriptor.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
            libc::CMSG_DATA(header)
                .cast::<RawFd>()
                .write_unaligned(fd.as_raw_fd());
            Errno::check(libc::sendmsg(socket.as_raw_fd(), message, 0) as i64).map(drop)
        }
    })
}

/// Receives a descriptor from a socket.
pub fn receive_descriptor(socket: &impl AsRawFd) -> Result<OwnedFd> {
    with_message(|message| {
        // SAFETY: As for sending; a descriptor that arrives is ours.
        unsafe {
            Errno::check(libc::recvmsg(socket.as_raw_fd(), message, 0) as i64)?;
            let header = libc::CMSG_FIRSTHDR(message);
            if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
                return Err(Errno(libc::EIO));
            }
            Ok(OwnedFd::from_raw_fd(
                libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned(),
            ))
        }
    })
}

/// Puts memory into a pipe with `vmsplice(2)`: the pipe holds the pages themselves, not a copy.
pub fn splice_memory(
    pipe: &impl AsRawFd,
    memory: &Mapping,
    offset: usize,
    len: usize,
) -> Result<usize> {
    let part = libc::iovec {
        iov_base: memory.check(offset, len).cast(),
        iov_len: len,
    };
    // SAFETY: The vector describes a part of a live mapping, which may change while the pipe has it.
    let n = unsafe { libc::vmsplice(pipe.as_raw_fd(), &part, 1, 0) };
    Errno::check(n as i64).map(|n| n as usize)
}

/// Makes a file that has only memory behind it.
pub fn memory_file(len: usize) -> Result<RawFd> {
    // SAFETY: The name is NUL-terminated.
    let fd = Errno::check(unsafe { libc::memfd_create(c"test".as_ptr(), libc::MFD_ALLOW_SEALING) })?
        as RawFd;
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::ftruncate(fd, len as i64) })?;
    Ok(fd)
}

/// A disk of fresh memory that is read and written without the kernel's page cache.
#[derive(Debug)]
pub struct Disk {
    fd: OwnedFd,
}

impl Disk {
    const GET_FREE: u32 = 0x4c82;
    const SET_FD: u32 = 0x4c00;
    const CLEAR_FD: u32 = 0x4c01;

    /// Makes a loop device.
    pub fn new(len: usize) -> Result<Self> {
        let control = open("/dev/loop-control", libc::O_RDWR)?;
        // SAFETY: The request takes no argument.
        let number = unsafe { ioctl(&control, Self::GET_FREE, 0) }?;
        let fd = open(&format!("/dev/loop{number}"), libc::O_RDWR | libc::O_DIRECT)?;
        let memfd = memory_file(len)?;
        // SAFETY: The request takes a descriptor as its argument.
        let set = unsafe { ioctl(&fd, Self::SET_FD, memfd as usize) };
        // SAFETY: Nothing else has this descriptor.
        unsafe { libc::close(memfd) };
        set.map(|_| Self { fd })
    }

    /// Reads `len` bytes at `offset` of the disk into memory.
    pub fn read(&self, memory: &Mapping, at: usize, len: usize, offset: usize) -> Result<usize> {
        let into = memory.check(at, len).cast();
        // SAFETY: The part is the mapping's; the kernel checks whether it can be written to.
        let n = unsafe { libc::pread(self.fd.as_raw_fd(), into, len, offset as i64) };
        Errno::check(n as i64).map(|n| n as usize)
    }

    /// Writes `len` bytes of memory to `offset` of the disk.
    pub fn write(&self, memory: &Mapping, at: usize, len: usize, offset: usize) -> Result<usize> {
        let from = memory.check(at, len).cast();
        // SAFETY: The part is the mapping's, and may change while it is written.
        let n = unsafe { libc::pwrite(self.fd.as_raw_fd(), from, len, offset as i64) };
        Errno::check(n as i64).map(|n| n as usize)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // SAFETY: The request takes no argument.
        let _ = unsafe { ioctl(&self.fd, Self::CLEAR_FD, 0) };
    }
}

/// Makes a dma-buf of fresh memory through `/dev/udmabuf`.
pub fn udmabuf(len: usize) -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        memfd: u32,
        flags: u32,
        offset: u64,
        size: u64,
    }
    const UDMABUF_CREATE: u32 = (1 << 30) | (24 << 16) | ((b'u' as u32) << 8) | 0x42;
    let device = open("/dev/udmabuf", libc::O_RDWR)?;
    let memfd = memory_file(len)?;
    // SAFETY: Takes only numbers.
    Errno::check(unsafe { libc::fcntl(memfd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) })?;
    let create = Create {
        memfd: memfd as u32,
        flags: 1,
        offset: 0,
        size: len as u64,
    };
    // SAFETY: The argument is the structure of linux/udmabuf.h.
    let fd = unsafe {
        ioctl(
            &device,
            UDMABUF_CREATE,
            std::ptr::from_ref(&create) as usize,
        )
    };
    // SAFETY: Nothing else has this descriptor.
    unsafe { libc::close(memfd) };
    // SAFETY: The kernel just gave this descriptor to us.
    fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether the kernel would write the page behind an address back to where it came from.
pub fn page_is_dirty(addr: usize) -> Result<bool> {
    const KPF_DIRTY: u64 = 1 << 4;
    let word = |path: &str, index: u64| -> Result<u64> {
        let file = open(path, libc::O_RDONLY)?;
        let mut word = [0; 8];
        read_at(&file, &mut word, index as i64 * 8)?;
        Ok(u64::from_ne_bytes(word))
    };
    let frame = word("/proc/self/pagemap", (addr / PAGE) as u64)? & ((1 << 55) - 1);
    Ok(word("/proc/kpageflags", frame)? & KPF_DIRTY != 0)
}

/// The magic number of the file system that a path is on.
pub fn file_system_kind(path: &str) -> Result<i64> {
    let path = c_string(path);
    // SAFETY: statfs fills the structure.
    unsafe {
        let mut found: libc::statfs = std::mem::zeroed();
        Errno::check(libc::statfs(path.as_ptr(), &mut found))?;
        Ok(found.f_type)
    }
}

/// Becomes another user, for good.
pub fn become_user(id: u32) -> Result<()> {
    // SAFETY: Takes only numbers.
    unsafe {
        Errno::check(libc::setgroups(0, std::ptr::null()))?;
        Errno::check(libc::setresgid(id, id, id))?;
        Errno::check(libc::setresuid(id, id, id)).map(drop)
    }
}

/// Calls `ioctl(2)` as a 32-bit program does, on a 64-bit kernel.
///
/// The argument is an address without memory behind it.
#[cfg(target_arch = "x86_64")]
pub fn ioctl_of_32_bits(fd: &impl AsRawFd, request: u32) -> Result<i64> {
    const IOCTL: i64 = 54;
    let mut result = IOCTL;
    // SAFETY: The kernel checks the address. The call changes no register but rax and what an interrupt return of
    // 32 bits may clear; rbx, which the compiler keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {fd}, rbx",
            "int 0x80",
            "xchg {fd}, rbx",
            fd = inout(reg) i64::from(fd.as_raw_fd()) => _,
            inout("rax") result,
            in("rcx") u64::from(request),
            in("rdx") 8_u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result as i32 {
        error if error < 0 => Err(Errno(-error)),
        value => Ok(value.into()),
    }
}
