// SPDX-License-Identifier: GPL-2.0

//! What happens to processes and threads: fork, signals, an end in the middle.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::program::THREADS;
use super::super::world::{Hand, ARENA};
use crate::sys::{self, Errno, PAGE};

/// The signal that interrupts.
pub const SIGNAL: i32 = libc::SIGUSR1;

impl Hand<'_> {
    pub(super) fn process(&mut self) -> sys::Result<()> {
        match self.chance.below(48) {
            0 => self.fork(),
            1 if self.chance.one_in(2) => {
                self.call(format_args!("kill this process"));
                // SAFETY: Ends this process, as the program wants.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                Ok(())
            }
            1..=16 => {
                let thread = self.chance.below(THREADS);
                self.call(format_args!("signal thread {thread}"));
                match self.world.threads[thread].load(Ordering::Relaxed) {
                    0 => Ok(()),
                    id => sys::signal_thread(id, SIGNAL),
                }
            }
            17..=32 => {
                // What follows is interrupted.
                let after = Duration::from_micros(1 + self.chance.below(500) as u64);
                self.call(format_args!("alarm after {after:?}"));
                self.alarm(|alarm| alarm.set(after, Duration::ZERO))
            }
            _ => self.wait(),
        }
    }

    fn alarm(&mut self, set: impl FnOnce(&sys::Alarm) -> sys::Result<()>) -> sys::Result<()> {
        if self.alarm.is_none() {
            self.alarm = Some(sys::Alarm::new(SIGNAL)?);
        }
        self.alarm.as_ref().map_or(Ok(()), set)
    }

    /// Waits for what may never come, until a signal does.
    fn wait(&mut self) -> sys::Result<()> {
        let world = self.world;
        let fd = self.slot(&world.evtchn);
        let at = self.memory.addr() + PAGE;
        self.call(format_args!("read {fd}, and wait"));
        sys::set_status_flag(fd, libc::O_NONBLOCK, false)?;
        // Again and again, as the first may come before the wait.
        let soon = Duration::from_micros(300);
        self.alarm(|alarm| alarm.set(soon, 4 * soon))?;
        // SAFETY: The kernel writes to memory for arguments.
        let result =
            Errno::check(unsafe { libc::read(fd.as_raw_fd(), at as *mut c_void, 64) as i64 });
        self.alarm(|alarm| alarm.set(Duration::ZERO, Duration::ZERO))?;
        result.map(drop)
    }

    /// A child that has all that this process has, touches it, and ends.
    fn fork(&mut self) -> sys::Result<()> {
        let (wait, unmap) = (self.chance.one_in(2), self.chance.one_in(2));
        let from = self.chance.below(ARENA);
        self.call(format_args!(
            "fork, unmap {unmap}, touch page {from}, wait {wait}"
        ));
        // SAFETY: The child makes system calls and touches the arena, which may end it.
        let pid = Errno::check(unsafe { libc::fork() })? as libc::pid_t;
        if pid == 0 {
            if unmap {
                // SAFETY: A part of the arena, to which no reference is held.
                unsafe { libc::munmap(self.world.page(1) as *mut c_void, 3 * PAGE) };
            }
            // An end that is asked for: of others the kernel tells.
            let _ = sys::leave_on_signal(libc::SIGSEGV);
            let _ = sys::leave_on_signal(libc::SIGBUS);
            for page in from..ARENA {
                // SAFETY: A page that is not there ends this process, as it may.
                unsafe { (self.world.page(page) as *mut u8).read_volatile() };
            }
            // SAFETY: Ends this process.
            unsafe { libc::_exit(0) };
        }
        if wait {
            // SAFETY: Our own child, which nobody else waits for.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
        Ok(())
    }
}
