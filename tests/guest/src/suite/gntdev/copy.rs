// SPDX-License-Identifier: GPL-2.0

//! GRANT_COPY.

use super::{each_grantor, Grantor};
use crate::abi::gntdev::{
    self as abi, CopyEnd, CopySegment, COPY_DEST_GREF, COPY_SOURCE_GREF, GNTST_BAD_DOMAIN,
    GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GNTST_OKAY,
};
use crate::device::Gntdev;
use crate::ktap::{check, equal, skip, FailsWith, TestResult};
use crate::sys::{self, Mapping, PAGE};

/// A status that Xen never gives.
const UNTOUCHED: i16 = 99;

fn segment(source: CopyEnd, dest: CopyEnd, len: usize, flags: u16) -> CopySegment {
    CopySegment {
        source,
        dest,
        len: len as u16,
        flags,
        status: UNTOUCHED,
        pad: 0,
    }
}

fn to_grant(addr: usize, grantor: &Grantor, page: usize, offset: usize, len: usize) -> CopySegment {
    let dest = CopyEnd::grant(grantor.id(), grantor.references[page], offset as u16);
    segment(CopyEnd::local(addr), dest, len, COPY_DEST_GREF)
}

pub fn from_grant(
    grantor: &Grantor,
    page: usize,
    offset: usize,
    addr: usize,
    len: usize,
) -> CopySegment {
    let source = CopyEnd::grant(grantor.id(), grantor.references[page], offset as u16);
    segment(source, CopyEnd::local(addr), len, COPY_SOURCE_GREF)
}

/// Whole pages of a domain's grants, to memory from an address on.
pub fn pages_from(dom: u16, references: &[u32], addr: usize) -> Vec<CopySegment> {
    references
        .iter()
        .enumerate()
        .map(|(i, &reference)| {
            let dest = CopyEnd::local(addr + i * PAGE);
            segment(
                CopyEnd::grant(dom, reference, 0),
                dest,
                PAGE,
                COPY_SOURCE_GREF,
            )
        })
        .collect()
}

fn all_done(segments: &[CopySegment]) -> TestResult {
    segments
        .iter()
        .try_for_each(|s| equal(s.status, GNTST_OKAY, "a segment's status"))
}

/// Bytes that differ from their neighbours.
fn pattern(memory: &Mapping) {
    (0..memory.len()).for_each(|i| memory.write_at(i, &((i * 7 + i / 251) as u8)));
}

pub fn both_ways() -> TestResult {
    each_grantor(2, |grantor| {
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(3 * PAGE)?;
        pattern(&memory);
        // Local memory may cross pages, at any alignment.
        for (at, offset, len) in [
            (0, 0, PAGE),
            (PAGE - 5, 0, PAGE),
            (3, 1, 4000),
            (PAGE - 1, 4095, 1),
            (9, 9, 0),
        ] {
            let mut segments = [to_grant(memory.addr() + at, &grantor, 1, offset, len)];
            file.copy(&mut segments)?;
            all_done(&segments)?;
            equal(
                view.bytes(PAGE + offset, len),
                memory.bytes(at, len),
                "bytes copied to the grant",
            )?;
            let back = Mapping::anonymous(2 * PAGE)?;
            let to = PAGE - len / 2;
            let mut segments = [from_grant(&grantor, 1, offset, back.addr() + to, len)];
            file.copy(&mut segments)?;
            all_done(&segments)?;
            equal(
                back.bytes(to, len),
                memory.bytes(at, len),
                "bytes copied from the grant",
            )?;
            let around = [
                back.read_at::<u8>(to.saturating_sub(1)),
                back.bytes(to, len + 1)[len],
            ];
            check(
                len == PAGE || around[1] == 0,
                "a byte beyond the segment changed",
            )?;
        }
        equal(grantor.in_use(), 0, "grants in use")
    })
}

pub fn many() -> TestResult {
    each_grantor(8, |grantor| {
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(101 * PAGE)?;
        pattern(&memory);
        // Each crosses pages, so that it is more than one operation.
        let mut segments: Vec<_> = (0..100)
            .map(|i| {
                to_grant(
                    memory.addr() + i * PAGE + 3000,
                    &grantor,
                    i % 8,
                    (i / 8) * 300,
                    290 + i * 8,
                )
            })
            .take(64)
            .collect();
        file.copy(&mut segments)?;
        all_done(&segments)?;
        // The last to a place has won; the first eight places of each page are distinct in their first bytes.
        for i in 56..64 {
            let (page, offset, len) = (i % 8, (i / 8) * 300, 290 + i * 8);
            equal(
                view.bytes(page * PAGE + offset, len),
                memory.bytes(i * PAGE + 3000, len),
                "bytes copied",
            )?;
        }
        file.copy(&mut [])?;
        Ok(())
    })
}

pub fn between_grants() -> TestResult {
    each_grantor(2, |grantor| {
        let view = grantor.view()?;
        pattern(&view);
        let file = Gntdev::open()?;
        let (one, other) = (grantor.references[0], grantor.references[1]);
        let source = CopyEnd::grant(grantor.id(), one, 100);
        let dest = CopyEnd::grant(grantor.id(), other, 200);
        let mut segments = [segment(
            source,
            dest,
            1000,
            COPY_SOURCE_GREF | COPY_DEST_GREF,
        )];
        file.copy(&mut segments)?;
        all_done(&segments)?;
        equal(
            view.bytes(PAGE + 200, 1000),
            view.bytes(100, 1000),
            "bytes copied",
        )
    })
}

pub fn statuses() -> TestResult {
    each_grantor(2, |mut grantor| {
        let frames = grantor.frames.clone();
        let read_only = grantor.table.grant(&frames[..1], false)[0];
        let unused = grantor.table.unused();
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(4 * PAGE)?;
        pattern(&memory);
        let (addr, id) = (memory.addr(), grantor.id());
        let to = |dom: u16, reference: u32| {
            segment(
                CopyEnd::local(addr + PAGE - 8),
                CopyEnd::grant(dom, reference, 0),
                64,
                COPY_DEST_GREF,
            )
        };
        let mut segments = [
            to_grant(addr, &grantor, 0, 0, 16),
            to(id, u32::MAX),
            to(0x7fe0, 1),
            to(id, read_only),
            from_grant(&grantor, 0, 0, addr + 3 * PAGE, 16),
            segment(
                CopyEnd::grant(id, read_only, 0),
                CopyEnd::local(addr + 3 * PAGE + 64),
                16,
                COPY_SOURCE_GREF,
            ),
        ];
        // Each has its own status, also across batches.
        for _ in 0..2 {
            file.copy(&mut segments)?;
            let expected = [
                GNTST_OKAY,
                GNTST_BAD_GNTREF,
                GNTST_BAD_DOMAIN,
                GNTST_GENERAL_ERROR,
                GNTST_OKAY,
                GNTST_OKAY,
            ];
            equal(
                segments.map(|s| s.status),
                expected,
                "the segments' statuses",
            )?;
        }
        equal(
            memory.bytes(3 * PAGE, 16),
            memory.bytes(0, 16),
            "bytes that went there and back",
        )?;
        let mut long: Vec<_> = (0..40)
            .map(|i| {
                if i % 2 == 0 {
                    to(id, unused)
                } else {
                    segments[0]
                }
            })
            .collect();
        file.copy(&mut long)?;
        for (i, segment) in long.iter().enumerate() {
            let expected = if i % 2 == 0 {
                GNTST_GENERAL_ERROR
            } else {
                GNTST_OKAY
            };
            equal(
                segment.status,
                expected,
                format_args!("the status of segment {i}"),
            )?;
        }
        Ok(())
    })
}

pub fn refused_segments() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        let addr = memory.addr();
        let local = segment(CopyEnd::local(addr), CopyEnd::local(addr + PAGE), 16, 0);
        let reference = grantor.references[0];
        let grant = |offset| CopyEnd::grant(grantor.id(), reference, offset);
        let cases = [
            local,
            CopySegment { flags: 4, ..local },
            segment(CopyEnd::local(addr), grant(4095), 2, COPY_DEST_GREF),
            segment(CopyEnd::local(addr), grant(1), PAGE, COPY_DEST_GREF),
            segment(grant(4000), CopyEnd::local(addr), 97, COPY_SOURCE_GREF),
            segment(grant(u16::MAX), CopyEnd::local(addr), 1, COPY_SOURCE_GREF),
            segment(CopyEnd::local(addr), grant(0), 0xffff, COPY_DEST_GREF),
            segment(
                grant(0),
                grant(4000),
                200,
                COPY_SOURCE_GREF | COPY_DEST_GREF,
            ),
        ];
        for (i, case) in cases.into_iter().enumerate() {
            let good = to_grant(addr, &grantor, 0, 0, 16);
            let result = file.copy(&mut [good, case, good]);
            check(
                result == Err(sys::Errno(libc::EINVAL)),
                format_args!("case {i} gave {result:?}"),
            )?;
        }
        equal(grantor.in_use(), 0, "grants in use")
    })
}

pub fn bad_memory() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let read_only = Mapping::anonymous(PAGE)?;
        read_only.fill(2);
        read_only.protect(libc::PROT_READ)?;
        // Last, since another mapping could come to lie where this one has its hole.
        let memory = Mapping::anonymous(3 * PAGE)?;
        memory.fill(1);
        memory.unmap_part(PAGE, PAGE)?;
        for addr in [8, memory.addr() + PAGE, memory.addr() + PAGE - 8] {
            file.copy(&mut [to_grant(addr, &grantor, 0, 0, 32)])
                .fails_with(libc::EFAULT)?;
            file.copy(&mut [from_grant(&grantor, 0, 0, addr, 32)])
                .fails_with(libc::EFAULT)?;
        }
        file.copy(&mut [from_grant(&grantor, 0, 0, read_only.addr(), 32)])
            .fails_with(libc::EFAULT)?;
        equal(read_only.read_at(0), 2_u8, "memory that may only be read")?;
        for segments in [8, u64::MAX - 15] {
            let mut argument = abi::GrantCopy {
                count: 2,
                pad: 0,
                segments,
            };
            sys::ioctl_struct(&file, abi::GRANT_COPY, &mut argument).fails_with(libc::EFAULT)?;
        }
        // More segments than there are: it stops where they end.
        let pages = Mapping::anonymous(2 * PAGE)?;
        pages.unmap_part(PAGE, PAGE)?;
        for i in 0..170 {
            pages.write_at(i * 24, &to_grant(memory.addr(), &grantor, 0, 0, 8));
        }
        let mut argument = abi::GrantCopy {
            count: u32::MAX,
            pad: 0,
            segments: pages.addr() as u64,
        };
        sys::ioctl_struct(&file, abi::GRANT_COPY, &mut argument).fails_with(libc::EFAULT)
    })
}

pub fn impossible_memory() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        for addr in [usize::MAX - 16, usize::MAX - 64, 1 << 63, 1 << 55] {
            file.copy(&mut [to_grant(addr, &grantor, 0, 0, 32)])
                .fails_with(libc::EFAULT)?;
            file.copy(&mut [from_grant(&grantor, 0, 0, addr, 32)])
                .fails_with(libc::EFAULT)?;
        }
        Ok(())
    })
}

pub fn read_only_source() -> TestResult {
    each_grantor(1, |grantor| {
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(PAGE)?;
        pattern(&memory);
        memory.protect(libc::PROT_READ)?;
        let mut segments = [to_grant(memory.addr(), &grantor, 0, 0, PAGE)];
        file.copy(&mut segments)?;
        all_done(&segments)?;
        equal(view.bytes(0, PAGE), memory.bytes(0, PAGE), "bytes copied")
    })
}

pub fn leaves_source_clean() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let source = sys::memory_file(PAGE)?;
        let source = Mapping::new(PAGE, libc::PROT_READ, libc::MAP_SHARED, Some(source), 0)?;
        check(source.readable(0), "a hole of a file cannot be read")?;
        if sys::page_is_dirty(source.addr())? {
            return skip("a page that was only read counts as dirty");
        }
        let dest = Mapping::anonymous(PAGE)?;
        // One batch with a page that is read and one that is written.
        let mut segments = [
            to_grant(source.addr(), &grantor, 0, 0, 64),
            from_grant(&grantor, 1, 0, dest.addr(), 64),
        ];
        file.copy(&mut segments)?;
        all_done(&segments)?;
        check(
            !sys::page_is_dirty(source.addr())?,
            "a page that was only read is dirty",
        )
    })
}
