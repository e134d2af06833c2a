// SPDX-License-Identifier: GPL-2.0

//! Making things fail in turn: the kernel's fault injection, for a call at a time.
//!
//! A thread that writes n to its `fail-nth` has the n-th thing that can fail in what it does next fail: an allocation of
//! memory, a copy from or to user space, and, in modules that were built for it, a hypercall.

use std::cell::Cell;
use std::fs;
use std::os::fd::OwnedFd;

use crate::ktap::{check, fail, skip, TestResult};
use crate::sys::{self, Errno};

const FAIL_NTH: &str = "/proc/thread-self/fail-nth";
const KNOBS: &str = "/sys/kernel/debug";

/// No call has so many things that can fail.
const MOST: u32 = 2000;

/// What is to fail in a call.
#[derive(Debug)]
pub struct Fault {
    file: OwnedFd,
    nth: u32,
    struck: Cell<Option<bool>>,
}

impl Fault {
    /// Makes the call, in which something is to fail.
    pub fn strike<T>(&self, call: impl FnOnce() -> T) -> TestResult<T> {
        sys::write(&self.file, self.nth.to_string().as_bytes())?;
        let result = call();
        let left = self.left();
        // What is left to come may strike here.
        if sys::write(&self.file, b"0").is_err() {
            sys::write(&self.file, b"0")?;
        }
        self.struck.set(Some(left == 0));
        Ok(result)
    }

    /// How many more would have had to be tried.
    fn left(&self) -> u32 {
        let mut text = [0; 16];
        match sys::read_at(&self.file, &mut text, 0) {
            Ok(n) => String::from_utf8_lossy(&text[..n])
                .trim()
                .parse()
                .unwrap_or(u32::MAX),
            // The copy of the answer was the one.
            Err(_) => 1,
        }
    }
}

/// What is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything.
    All,
    /// All but allocations that may wait: where the kernel's own code does not bear that they fail.
    NotMemory,
}

/// Lets the kernel's fault injection strike wherever it can, and silently.
fn set_up(what: What) -> TestResult {
    if !fs::exists(FAIL_NTH)? {
        return skip("this kernel injects no faults");
    }
    let set = |file: &str, value: &str| fs::write(format!("{KNOBS}/{file}"), value);
    for kind in ["failslab", "fail_page_alloc", "fail_usercopy"] {
        set(&format!("{kind}/verbose"), "0")?;
    }
    for kind in ["failslab", "fail_page_alloc"] {
        let spared = if what == What::NotMemory { "Y" } else { "N" };
        set(&format!("{kind}/ignore-gfp-wait"), spared)?;
    }
    set("fail_page_alloc/ignore-gfp-highmem", "N")?;
    set("fail_page_alloc/min-order", "0")?;
    Ok(())
}

/// Makes everything in a call fail, one after the other, until nothing is left that could.
///
/// `round` makes the call by [`Fault::strike`] and, if it succeeded all the same, undoes it; it tells whether the call
/// succeeded. `held` counts what must be the same after each round as before. `least` is how many things can fail at the
/// very least: fewer mean that nothing was tried.
pub fn each(
    what: &str,
    least: u32,
    held: impl Fn() -> TestResult<usize>,
    round: impl FnMut(&Fault) -> TestResult<bool>,
) -> TestResult {
    each_of(What::All, what, least, held, round)
}

/// As [`each`], for a part of what can fail.
pub fn each_of(
    kind: What,
    what: &str,
    least: u32,
    held: impl Fn() -> TestResult<usize>,
    mut round: impl FnMut(&Fault) -> TestResult<bool>,
) -> TestResult {
    set_up(kind)?;
    for nth in 1..MOST {
        let before = held()?;
        let fault = Fault {
            file: sys::open(FAIL_NTH, libc::O_RDWR)?,
            nth,
            struck: Cell::new(None),
        };
        let passed = round(&fault)?;
        let mut after = before;
        let same = sys::eventually(super::suite::SOON, || {
            after = held().unwrap_or(usize::MAX);
            after == before
        });
        check(
            same,
            format_args!("{what}: {before} held before failure {nth}, {after} after it"),
        )?;
        match (fault.struck.get(), passed) {
            (Some(true), _) => {}
            (Some(false), true) => {
                return check(
                    nth > least,
                    format_args!("{what}: only {} things could fail", nth - 1),
                )
            }
            (Some(false), false) => {
                return fail(format_args!("{what}: fails where nothing was made to"))
            }
            (None, _) => return fail(format_args!("{what}: was not tried")),
        }
    }
    fail(format_args!("{what}: never passes"))
}

/// Whether a call that may have been made to fail succeeded; an error that no failure explains is the test's.
pub fn passed<T>(result: sys::Result<T>) -> TestResult<bool> {
    const EXPECTED: [i32; 6] = [
        libc::ENOMEM,
        libc::EFAULT,
        libc::EAGAIN,
        libc::ENOSPC,
        libc::EINVAL,
        libc::ENOENT,
    ];
    match result {
        Ok(_) => Ok(true),
        Err(Errno(error)) if EXPECTED.contains(&error) => Ok(false),
        Err(error) => fail(format_args!("a failure was told as {error}")),
    }
}
