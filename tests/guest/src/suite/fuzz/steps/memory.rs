// SPDX-License-Identifier: GPL-2.0

//! What can be done with memory: all of it with the arena, to which no reference is ever held.

use std::ffi::c_void;
use std::os::fd::AsRawFd;

use super::super::world::Hand;
use crate::sys::{self, Errno, PAGE};

const ADVICE: [i32; 9] = [
    libc::MADV_DONTNEED,
    libc::MADV_DONTFORK,
    libc::MADV_DOFORK,
    libc::MADV_COLD,
    libc::MADV_PAGEOUT,
    libc::MADV_FREE,
    libc::MADV_REMOVE,
    libc::MADV_MERGEABLE,
    libc::MADV_WILLNEED,
];

impl Hand<'_> {
    pub(super) fn arena(&mut self) -> sys::Result<()> {
        let at = self.place();
        let pages = self.pages(at, 6);
        let (address, length) = (at as *mut c_void, pages * PAGE);
        match self.chance.below(10) {
            0 => {
                self.call(format_args!("mmap nothing at {at:#x} pages {pages}"));
                // SAFETY: This and all that follows is about the arena.
                let found = unsafe {
                    libc::mmap(
                        address,
                        length,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                        -1,
                        0,
                    )
                };
                if found == libc::MAP_FAILED {
                    return Err(Errno::last());
                }
            }
            1 | 2 => {
                self.call(format_args!("munmap {at:#x} pages {pages}"));
                // SAFETY: As above. The kernel puts nothing else into the hole.
                Errno::check(unsafe { libc::munmap(address, length) })?;
            }
            3 => {
                let prot = self.chance.of(&[0, 1, 3, 7]);
                self.call(format_args!("mprotect {at:#x} pages {pages} prot {prot}"));
                // SAFETY: As above.
                Errno::check(unsafe { libc::mprotect(address, length, prot) })?;
            }
            4 => {
                let advice = self.chance.of(&ADVICE);
                self.call(format_args!(
                    "madvise {at:#x} pages {pages} advice {advice}"
                ));
                // SAFETY: As above.
                Errno::check(unsafe { libc::madvise(address, length, advice) })?;
            }
            5 => self.remap(at, pages)?,
            6 => {
                self.call(format_args!("write a pipe from {at:#x} pages {pages}"));
                let (_read, write) = sys::pipe()?;
                // SAFETY: The kernel reads, and finds out for itself whether it can.
                unsafe { libc::write(write.as_raw_fd(), address, length.min(PAGE)) };
            }
            7 => {
                self.call(format_args!("read a pipe to {at:#x}"));
                let (read, write) = sys::pipe()?;
                sys::write(&write, &[7; 64])?;
                // SAFETY: The kernel writes to the arena, if it can.
                unsafe { libc::read(read.as_raw_fd(), address, 64) };
            }
            8 => {
                self.call(format_args!("mlock {at:#x} pages {pages}"));
                // SAFETY: As above.
                unsafe {
                    libc::mlock(address, length);
                    libc::munlock(address, length);
                }
            }
            _ => {
                self.call(format_args!("process_vm_readv {at:#x} pages {pages}"));
                let mut buffer = [0; 2 * PAGE];
                let part = &mut buffer[..length.min(2 * PAGE)];
                sys::read_own_memory(at, part)?;
            }
        }
        Ok(())
    }

    /// Moves what is at a place to another, or makes it longer or shorter.
    fn remap(&mut self, at: usize, pages: usize) -> sys::Result<()> {
        let to = self.place();
        let new = self.pages(to, 6);
        let flags = self.chance.of(&[
            0,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP | libc::MREMAP_FIXED,
        ]);
        // What cannot move grows only within the arena.
        let (to, new) = if flags == 0 {
            (at, new.min(pages))
        } else {
            (to, new)
        };
        self.call(format_args!(
            "mremap {at:#x} pages {pages} to {to:#x} pages {new} flags {flags}"
        ));
        // SAFETY: Both places are in the arena.
        let found = unsafe {
            libc::mremap(
                at as *mut c_void,
                pages * PAGE,
                new * PAGE,
                flags,
                to as *mut c_void,
            )
        };
        if found == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(())
    }
}
