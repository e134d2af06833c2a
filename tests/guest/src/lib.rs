// SPDX-License-Identifier: GPL-2.0

//! Tests of `/dev/xen/*`, `/proc/xen` and the balloon's sysfs files, run inside a booted dom0 and its guests.
//!
//! One static program does it all, so that an image needs one copy: called by the name of an [applet](applets), or
//! with that name as first argument. As `/init` it is the image's first process, see [`init`].
//!
//! The tests see the devices as user space does. They run against these drivers and against the kernel's own in C;
//! where the C drivers are known to behave otherwise, the test says so (see [`ktap::Test`]).
//!
//! From the bottom up:
//! - [`sys`]: system calls as safe functions; the only module but `device`, `xen` and `trace` with unsafe code,
//! - [`abi`]: structures and request numbers,
//! - [`device`]: the devices as types,
//! - [`xen`]: hypercalls, which say what Xen thinks of it, and bare domains to be the other side,
//! - [`xenstore`], [`domu`], [`program`], [`agent`], [`inside`], [`vchan`]: guests that run, talking to them, and what
//!   they try,
//! - [`interrupts`]: how often there were any,
//! - [`process`], [`trace`]: who runs and has a device open, and a program that stops at each system call,
//! - [`resources`]: what must be the same before and after each test,
//! - [`ktap`]: running tests and saying how they went,
//! - [`suite`]: the tests themselves,
//! - [`init`]: the first process, with [`boot`], [`drivers`] and [`daemons`]; [`exchange`] in place of xenstored.

pub mod abi;
pub mod agent;
pub mod applets;
pub mod boot;
pub mod daemons;
pub mod device;
pub mod domu;
pub mod drivers;
pub mod exchange;
pub mod faults;
pub mod health;
pub mod init;
pub mod inside;
pub mod interrupts;
pub mod ktap;
pub mod process;
pub mod program;
pub mod resources;
pub mod suite;
pub mod sys;
pub mod trace;
pub mod uring;
pub mod vchan;
pub mod xen;
pub mod xenstore;
