// SPDX-License-Identifier: GPL-2.0

//! Making maps and mapping them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;

use super::each_grantor;
use crate::abi::gntdev::{self as abi, GrantRef};
use crate::device::Gntdev;
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::suite::{scaled, SOON};
use crate::sys::{self, Mapping, Plain, PAGE};

pub fn unknown_request() -> TestResult {
    let file = Gntdev::open()?;
    for request in [
        0,
        abi::SET_MAX_GRANTS,
        abi::GRANT_COPY + (1 << 16),
        u32::MAX,
    ] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

pub fn bad_pointers() -> TestResult {
    let file = Gntdev::open()?;
    for request in [
        abi::MAP_GRANT_REF,
        abi::UNMAP_GRANT_REF,
        abi::GET_OFFSET_FOR_VADDR,
        abi::SET_UNMAP_NOTIFY,
        abi::GRANT_COPY,
        abi::DMABUF_EXP_WAIT_RELEASED,
        abi::DMABUF_IMP_TO_REFS,
        abi::DMABUF_IMP_RELEASE,
    ] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::EFAULT)?;
    }
    Ok(())
}

pub fn callers_of_32_bits() -> TestResult {
    let file = Gntdev::open()?;
    for request in [abi::MAP_GRANT_REF, abi::GRANT_COPY] {
        sys::ioctl_of_32_bits(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

pub fn maps() -> TestResult {
    each_grantor(8, |grantor| {
        let view = grantor.view()?;
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        equal(index, 0, "the first map's offset")?;
        equal(grantor.in_use(), 8, "grants in use")?;
        check(
            grantor.table.written(grantor.references[7]),
            "a grant mapped writable is not marked so",
        )?;
        for i in 0..8 {
            memory.write_at(i * PAGE + 16, &(i as u64 + 100));
            equal(
                view.read_at(i * PAGE + 16),
                i as u64 + 100,
                "what was written through the grant",
            )?;
            view.write_at(i * PAGE + 4088, &(i as u64 + 200));
            equal(
                memory.read_at(i * PAGE + 4088),
                i as u64 + 200,
                "what the grantor has in the page",
            )?;
        }
        memory.unmap()?;
        file.unmap(index, 8)?;
        drop(view);
        grantor.released()
    })
}

pub fn munmap_releases() -> TestResult {
    each_grantor(4, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        equal(grantor.in_use(), 4, "grants in use")?;
        memory.unmap()?;
        // The file is still open and the map not forgotten.
        grantor.released()
    })
}

pub fn mmap_wide_offset() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        for wide in [1 << 44, 1 << 45, 3 << 50] {
            file.mmap(index + wide, 1).fails_with(libc::EINVAL)?;
            file.unmap(index + wide, 1).fails_with(libc::ENOENT)?;
        }
        file.unmap(index, 1)?;
        Ok(())
    })
}

pub fn maps_many() -> TestResult {
    // More than any page of operations holds.
    let pages = scaled(1500);
    each_grantor(pages, |grantor| {
        let file = Gntdev::open()?;
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        equal(grantor.in_use(), pages, "grants in use")?;
        for i in 0..pages {
            memory.write_at(i * PAGE, &(i as u32));
        }
        // The same grants once more, in another order.
        let reversed: Vec<u32> = grantor.references.iter().rev().copied().collect();
        let (_, other) = file.map_memory(grantor.id(), &reversed)?;
        for i in 0..pages {
            equal(
                other.read_at(i * PAGE),
                (pages - 1 - i) as u32,
                "a page's number from the other end",
            )?;
        }
        drop((memory, other, file));
        grantor.released()
    })
}

pub fn maps_read_only() -> TestResult {
    each_grantor(2, |mut grantor| {
        let view = grantor.view()?;
        view.write_at(PAGE, &42_u8);
        let frames = grantor.frames.clone();
        let read_only = grantor.table.grant(&frames, false);
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &read_only)?;
        let memory = file.mmap_read_only(index, 2)?;
        equal(
            memory.read_at(PAGE),
            42_u8,
            "what the grantor has in the page",
        )?;
        check(
            !grantor.table.written(read_only[0]),
            "a grant mapped to be read is marked as written",
        )?;
        // What may be written can be mapped to be read only.
        let index = file.map(grantor.id(), &grantor.references)?;
        let memory = file.mmap_read_only(index, 2)?;
        equal(
            memory.read_at(PAGE),
            42_u8,
            "what the grantor has in the page",
        )?;
        check(
            !grantor.table.written(grantor.references[0]),
            "a grant mapped to be read is marked as written",
        )
    })
}

pub fn refused_numbers() -> TestResult {
    let file = Gntdev::open()?;
    let reference = [GrantRef {
        domid: 0,
        reference: 8,
    }];
    for count in [0, 0x1_0001, 0x8000_0000, u32::MAX] {
        file.map_refs(count, &reference).fails_with(libc::EINVAL)?;
    }
    Ok(())
}

pub fn limit_changes() -> TestResult {
    const LIMIT: &str = "/sys/module/xen_gntdev/parameters/limit";
    equal(fs::read_to_string(LIMIT)?.as_str(), "65536\n", "the limit")?;
    fs::write(LIMIT, "4")?;
    let file = Gntdev::open()?;
    let (four, five) = (file.map(0, &[8; 4]), file.map(0, &[8; 5]));
    fs::write(LIMIT, "65536")?;
    five.fails_with(libc::EINVAL)?;
    four?;
    Ok(())
}

pub fn bad_references() -> TestResult {
    let file = Gntdev::open()?;
    // The references end in memory that is not there.
    let pages = Mapping::anonymous(2 * PAGE)?;
    let at = PAGE - size_of::<abi::MapGrantRef>() - 3 * size_of::<GrantRef>();
    pages.write_at(
        at,
        &abi::MapGrantRef {
            count: 4,
            ..Plain::zeroed()
        },
    );
    pages.unmap_part(PAGE, PAGE)?;
    // SAFETY: The argument is a header and three of four references; the kernel finds the fourth missing.
    unsafe { sys::ioctl(&file, abi::MAP_GRANT_REF, pages.addr() + at) }.fails_with(libc::EFAULT)?;
    // Nothing was left: the first map is the first.
    equal(file.map(0, &[8])?, 0, "the first map's offset")
}

pub fn index_unique() -> TestResult {
    let file = Gntdev::open()?;
    let mut taken = BTreeSet::new();
    let mut live = Vec::new();
    for i in 0..300_u32 {
        let count = i % 5 + 1;
        let index = file.map(0, &vec![8; count as usize])?;
        equal(index % PAGE as u64, 0, "the offset's rest")?;
        for page in 0..u64::from(count) {
            check(
                taken.insert(index / PAGE as u64 + page),
                "two maps share an offset",
            )?;
        }
        live.push((index, count));
        if i % 3 == 2 {
            let (index, count) = live.remove(live.len() / 2);
            file.unmap(index, count)?;
            (0..u64::from(count)).for_each(|page| _ = taken.remove(&(index / PAGE as u64 + page)));
        }
    }
    live.into_iter()
        .try_for_each(|(index, count)| file.unmap(index, count))?;
    Ok(())
}

pub fn result_unwritable() -> TestResult {
    let file = Gntdev::open()?;
    let page = Mapping::anonymous(PAGE)?;
    page.write_at(
        0,
        &abi::MapGrantRef {
            count: 1,
            ..Plain::zeroed()
        },
    );
    page.protect(libc::PROT_READ)?;
    // SAFETY: The page holds the argument; a write to it faults and changes nothing.
    unsafe { sys::ioctl(&file, abi::MAP_GRANT_REF, page.addr()) }.fails_with(libc::EFAULT)?;
    file.unmap(0, 1).fails_with(libc::ENOENT)
}

pub fn mmap_exact() -> TestResult {
    each_grantor(4, |grantor| {
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        for (offset, count) in [
            (0, 3),
            (0, 5),
            (PAGE as u64, 3),
            (PAGE as u64, 4),
            (64 << 20, 4),
        ] {
            file.mmap(index + offset, count).fails_with(libc::EINVAL)?;
        }
        // Another file has no such map.
        Gntdev::open()?.mmap(index, 4).fails_with(libc::EINVAL)?;
        equal(grantor.in_use(), 0, "grants in use")?;
        file.mmap(index, 4)?.write_at(3 * PAGE, &1_u8);
        Ok(())
    })
}

pub fn mmap_private() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        let private =
            |prot| Mapping::new(PAGE, prot, libc::MAP_PRIVATE, Some(file.as_raw_fd()), index);
        private(libc::PROT_READ | libc::PROT_WRITE).fails_with(libc::EINVAL)?;
        equal(grantor.in_use(), 0, "grants in use")?;
        let memory = private(libc::PROT_READ)?;
        check(memory.readable(0), "a private mapping cannot be read")?;
        // It cannot become writable either.
        memory
            .protect(libc::PROT_READ | libc::PROT_WRITE)
            .fails_with(libc::EACCES)
    })
}

pub fn mmap_once() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.mmap(index, 2).fails_with(libc::EINVAL)?;
        memory.write_at(PAGE, &1_u8);
        equal(grantor.in_use(), 2, "grants in use")
    })
}

pub fn refused_grant() -> TestResult {
    each_grantor(5, |grantor| {
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &grantor.references)?;
        grantor.table.revoke(grantor.references[2]);
        for _ in 0..3 {
            file.mmap(index, 5).fails_with(libc::EINVAL)?;
            check(
                sys::eventually(SOON, || grantor.in_use() == 0),
                "grants of a refused map are in use",
            )?;
        }
        grantor
            .table
            .restore(grantor.references[2], grantor.frames[2]);
        let memory = file.mmap(index, 5)?;
        memory.write_at(2 * PAGE, &1_u8);
        equal(grantor.in_use(), 5, "grants in use")
    })
}

pub fn write_denied() -> TestResult {
    each_grantor(3, |mut grantor| {
        let frames = grantor.frames.clone();
        let read_only = grantor.table.grant(&frames[1..2], false)[0];
        let mixed = [grantor.references[0], read_only, grantor.references[2]];
        let file = Gntdev::open()?;
        let index = file.map(grantor.id(), &mixed)?;
        file.mmap(index, 3).fails_with(libc::EINVAL)?;
        let none = || grantor.table.count_in_use(&mixed) == 0;
        check(
            sys::eventually(SOON, none),
            "grants of a refused map are in use",
        )?;
        check(
            file.mmap_read_only(index, 3)?.readable(PAGE),
            "the map cannot be read",
        )
    })
}

pub fn unmap() -> TestResult {
    each_grantor(3, |grantor| {
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        file.unmap(index, 3)?;
        // What is mapped stays until it is unmapped.
        memory.write_at(2 * PAGE, &5_u8);
        equal(memory.read_at(2 * PAGE), 5_u8, "what was written")?;
        equal(grantor.in_use(), 3, "grants in use")?;
        file.mmap(index, 3).fails_with(libc::EINVAL)?;
        memory.unmap()?;
        grantor.released()
    })
}

pub fn unmap_unknown() -> TestResult {
    let file = Gntdev::open()?;
    let index = file.map(0, &[8, 9])?;
    for (index, count) in [
        (index, 1),
        (index, 3),
        (index + PAGE as u64, 1),
        (1 << 40, 2),
        (u64::MAX, 2),
    ] {
        file.unmap(index, count).fails_with(libc::ENOENT)?;
    }
    Gntdev::open()?.unmap(index, 2).fails_with(libc::ENOENT)?;
    file.unmap(index, 2)?;
    file.unmap(index, 2).fails_with(libc::ENOENT)
}

pub fn offset_for_vaddr() -> TestResult {
    each_grantor(6, |grantor| {
        let file = Gntdev::open()?;
        let (first, one) = file.map_memory(grantor.id(), &grantor.references[..2])?;
        let (second, other) = file.map_memory(grantor.id(), &grantor.references[2..])?;
        equal(
            file.offset_of(one.addr())?,
            (first, 2),
            "offset and count of the first",
        )?;
        equal(
            file.offset_of(other.addr())?,
            (second, 4),
            "offset and count of the second",
        )?;
        equal(
            file.offset_of(other.addr() + 3 * PAGE + 5)?,
            (second, 4),
            "from an address inside",
        )?;
        file.unmap(second, 4)?;
        drop((one, other));
        Ok(())
    })
}

pub fn offset_for_foreign_vaddr() -> TestResult {
    each_grantor(2, |grantor| {
        let (file, other) = (Gntdev::open()?, Gntdev::open()?);
        let (_, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        other.offset_of(memory.addr()).fails_with(libc::EINVAL)?;
        let anonymous = Mapping::anonymous(PAGE)?;
        for addr in [
            anonymous.addr(),
            0,
            PAGE,
            memory.addr() - 1,
            memory.addr() + 2 * PAGE,
            usize::MAX,
        ] {
            // The anonymous page may happen to be a neighbour; it is still not the file's.
            file.offset_of(addr).fails_with(libc::EINVAL)?;
        }
        Ok(())
    })
}

pub fn offsets_of_many_maps() -> TestResult {
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let maps: Vec<_> = (0..1000)
            .map(|_| file.map(grantor.id(), &grantor.references))
            .collect::<sys::Result<_>>()?;
        let unique: BTreeSet<_> = maps.iter().collect();
        equal(unique.len(), 1000, "different offsets")?;
        for index in maps.iter().step_by(97) {
            file.mmap(*index, 1)?.write_at(0, &1_u8);
        }
        maps.iter().try_for_each(|&index| file.unmap(index, 1))?;
        grantor.released()
    })
}
