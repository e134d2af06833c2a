// SPDX-License-Identifier: GPL-2.0

//! The clock.

/// The time stamp counter. On the emulator it counts 1 GHz of virtual time, that is, executed instructions.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: Every x86-64 CPU has the instruction, and the kernel does not forbid it to user space.
    unsafe { core::arch::x86_64::_rdtsc() }
}
