// SPDX-License-Identifier: GPL-2.0

//! What came of a frame that was to be mapped, and how either version of `MMAPBATCH` tells it.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// What Xen says of a frame that is there, but not in memory. Whoever paged it out can bring it
/// back: it is worth another try.
const ENOENT: i32 = -2;

/// What came of a frame.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is mapped.
    Mapped,
    /// It is paged out.
    PagedOut,
    /// There is none, or it may not be mapped.
    Failed,
}

impl Outcome {
    /// What the number, an error or 0, stands for.
    pub fn of(error: i32) -> Self {
        match error {
            0 => Self::Mapped,
            ENOENT => Self::PagedOut,
            _ => Self::Failed,
        }
    }

    /// What version 1 puts in the place of the number of `frame`, if anything: the number with a
    /// mark in it.
    pub fn mark(self, frame: u64) -> Option<u64> {
        /// `PRIVCMD_MMAPBATCH_MFN_ERROR`.
        const FAILED: u64 = 0xf000_0000;
        /// `PRIVCMD_MMAPBATCH_PAGED_ERROR`.
        const PAGED_OUT: u64 = 0x8000_0000;

        match self {
            Self::Mapped => None,
            Self::PagedOut => Some(frame | PAGED_OUT),
            Self::Failed => Some(frame | FAILED),
        }
    }

    /// Whether one of the frames with these errors is paged out, which the call as a whole tells.
    pub fn any_paged_out(errors: &[i32]) -> bool {
        errors
            .iter()
            .any(|&error| Self::of(error) == Self::PagedOut)
    }
}
