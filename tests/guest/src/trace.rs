// SPDX-License-Identifier: GPL-2.0

//! A program that stops at each of its system calls, so that it can be killed at one of them.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::sys::{self, Errno, Result};

/// A system call that a program is about to make.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which.
    pub number: i64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// How a traced program is found when it stops or ends.
enum State {
    /// By a signal; of a system call if so.
    Stopped {
        signal: i32,
        call: bool,
    },
    Ended,
}

/// A program that is traced: its first thread, but neither other threads nor processes that it makes. Killed when
/// dropped.
#[derive(Debug)]
pub struct Traced {
    pid: libc::pid_t,
    /// The next stop at a call is that before it, rather than after it.
    before: bool,
    /// The signal that stopped it, which it is to get.
    signal: i32,
}

impl Traced {
    /// Starts a program; it stops before it does anything.
    pub fn start(command: &mut Command) -> Result<Self> {
        let ask = || {
            // SAFETY: Takes no memory of ours.
            let asked = unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
            match Errno::check(asked) {
                Ok(_) => Ok(()),
                Err(error) => Err(std::io::Error::from_raw_os_error(error.0)),
            }
        };
        // SAFETY: Between fork and exec there is nothing but a system call.
        let child = unsafe { command.pre_exec(ask) }.spawn()?;
        let traced = Self {
            pid: child.id() as libc::pid_t,
            before: true,
            signal: 0,
        };
        traced.wait()?;
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
        traced.request(libc::PTRACE_SETOPTIONS, options as usize)?;
        Ok(traced)
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Lets it run until it is about to make a system call; nothing once it has ended.
    pub fn next_call(&mut self) -> Result<Option<Call>> {
        loop {
            self.request(libc::PTRACE_SYSCALL, self.signal as usize)?;
            self.signal = 0;
            match self.wait()? {
                State::Ended => {
                    self.pid = 0;
                    return Ok(None);
                }
                State::Stopped { call: true, .. } => {
                    let before = self.before;
                    self.before = !before;
                    if before {
                        return self.call().map(Some);
                    }
                }
                State::Stopped { signal, .. } => self.signal = signal,
            }
        }
    }

    /// The call it has stopped at.
    fn call(&self) -> Result<Call> {
        // SAFETY: Plain numbers, of which zero is one.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        self.request(
            libc::PTRACE_GETREGS,
            std::ptr::from_mut(&mut registers) as usize,
        )?;
        let r = &registers;
        Ok(Call {
            number: r.orig_rax as i64,
            arguments: [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9],
        })
    }

    fn request(&self, request: libc::c_uint, data: usize) -> Result<()> {
        // SAFETY: The data of these requests are numbers, or the address of registers that live in the caller.
        Errno::check(unsafe { libc::ptrace(request, self.pid, 0, data) }).map(drop)
    }

    fn wait(&self) -> Result<State> {
        let mut status = 0;
        // SAFETY: The status is a live variable.
        while let Err(error) = Errno::check(unsafe { libc::waitpid(self.pid, &mut status, 0) }) {
            if error != Errno(libc::EINTR) {
                return Err(error);
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Ok(State::Ended);
        }
        let signal = libc::WSTOPSIG(status);
        Ok(State::Stopped {
            signal,
            call: signal == libc::SIGTRAP | 0x80,
        })
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.pid != 0 {
            sys::kill(self.pid, libc::SIGKILL);
            while matches!(self.wait(), Ok(State::Stopped { .. })) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    /// The calls of a program up to its first `write`.
    fn run(kill: bool) -> (usize, Vec<u8>) {
        let (output, input) = sys::pipe().unwrap();
        let mut command = Command::new("echo");
        command.arg("hello").stdout(input);
        let mut traced = Traced::start(&mut command).unwrap();
        drop(command);
        let mut count = 0;
        while let Some(call) = traced.next_call().unwrap() {
            count += 1;
            if kill && call.number == libc::SYS_write {
                assert_eq!(call.arguments[0], 1);
                break;
            }
        }
        drop(traced);
        let mut said = Vec::new();
        File::from(output).read_to_end(&mut said).unwrap();
        (count, said)
    }

    #[test]
    fn stops_before_each_call() {
        let (all, said) = run(false);
        assert_eq!(said, b"hello\n");
        let (some, said) = run(true);
        assert!(some < all);
        assert_eq!(said, b"");
    }
}
