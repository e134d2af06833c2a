// SPDX-License-Identifier: GPL-2.0

//! The first process of the image.
//!
//! The kernel command line says what it does, by words that all begin with `xen_rust.`:
//!
//! | word | meaning |
//! |---|---|
//! | `mode=test` | load the drivers, start the daemons, run all tests; the last line is the verdict |
//! | `mode=run` | what an administrator does, up to two guests whose consoles are shown; then a table and the verdict |
//! | `mode=shell` | set up as for `run`, then a shell |
//! | `mode=domu` | be a guest: run `cmd=` (commas stand for spaces), with `wait=1` wait for xenstore, or be the tests' other side |
//! | `drivers=rust`, `drivers=c` | whose drivers |
//! | `slowness=N` | the kernel is so slow that everything takes N times as long |
//! | `clients=1` | the tests of other people's programs, see [`crate::suite::CLIENTS`], in an image that has those |
//! | `long=1` | tests take minutes where that shows more |
//! | `filter=PATTERN` | only these tests: `suite.test` or `test`, with `*`; several with commas |
//!
//! It expects of the image:
//!
//! | where | what |
//! |---|---|
//! | `/init` | this program |
//! | `/lib/modules/$(uname -r)/updates/*.ko`, with `modules.dep` | these drivers, and `xen-kunit.ko` if it is to run |
//! | `/lib/reference/*.ko` | the kernel's own: xen-evtchn, xen-privcmd, xen-gntdev, xen-gntalloc, xenfs |
//! | `/usr/lib/xen-*/bin`, `modprobe`, `sh` | Debian's tools |
//! | `/guest/vmlinuz`, `/guest/initrd` | a guest's kernel, and an image with this program as `/init`, these drivers, and `/lib/reference` |

mod administrator;
mod tester;

use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode};

use crate::boot::{self, Words};
use crate::ktap::Counts;
use crate::{agent, daemons, drivers, sys};

/// Does what the kernel command line says, and powers off.
pub fn run() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("init: not the first process");
        return ExitCode::from(2);
    }
    boot::mount_all();
    use_console();
    daemons::set_path();
    let words = Words::read();
    let mode = words.get("mode").unwrap_or("run").to_owned();
    // A first process that ends panics the kernel: whatever happens, power off.
    let result = std::panic::catch_unwind(|| match mode.as_str() {
        "test" => verdict(tester::run(&words)),
        "run" => verdict(administrator::run(&words)),
        "shell" => shell(&words),
        "domu" => agent::run_guest(&words),
        other => println!("init: no mode {other}"),
    });
    if result.is_err() {
        println!("init: panicked");
    }
    let error = sys::power_off();
    println!("init: power off: {error}");
    ExitCode::FAILURE
}

/// The line that says how it all went: once, and last.
fn verdict(counts: Counts) {
    crate::ktap::line(format_args!("XEN-RUST-VERDICT {counts}"));
}

fn use_console() {
    if let Ok(console) = sys::open("/dev/console", libc::O_RDWR) {
        for fd in 0..3 {
            // SAFETY: Takes only numbers; replaces the standard descriptors, which nothing else owns.
            unsafe { libc::dup2(console.as_raw_fd(), fd) };
        }
    }
}

fn shell(words: &Words) {
    if let Err(error) = administrator::set_up(words.drivers()) {
        println!("init: {error}");
    }
    for module in drivers::of(words.drivers()) {
        println!(
            "{}: {}",
            module.name,
            if module.is_loaded() {
                "loaded"
            } else {
                "not loaded"
            }
        );
    }
    println!("A shell; leave it to power off.");
    // setsid gives the shell a controlling terminal, so that interrupting a command works.
    let started = Command::new("sh")
        .args(["-c", "exec setsid cttyhack sh || exec sh"])
        .env("PS1", "dom0# ")
        .env("HOME", "/")
        .status();
    if let Err(error) = started {
        println!("init: sh: {error}");
    }
}
