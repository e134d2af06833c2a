// SPDX-License-Identifier: GPL-2.0

//! A bare domain's grant table, written and read from outside: it says exactly which grants are in use.

use super::domain::GRANT_FRAMES;
use super::BareDomain;
use crate::abi::{plain_structs, DomId};
use crate::device::privcmd::Resource;
use crate::sys::{Mapping, Result, PAGE};

plain_structs! {
    /// `struct grant_entry_v1`.
    struct Entry = 8 {
        flags: u16,
        domid: DomId,
        frame: u32,
    }
}

/// `XENMEM_resource_grant_table`.
pub const RESOURCE: u32 = 1;
const PERMIT_ACCESS: u16 = 1;
const READONLY: u16 = 1 << 2;
const READING: u16 = 1 << 3;
const WRITING: u16 = 1 << 4;

const ENTRIES_PER_FRAME: usize = PAGE / size_of::<Entry>();
/// The first reference that is not reserved by Xen.
const FIRST: usize = 8;

/// The grants of a bare domain to this one.
#[derive(Debug)]
pub struct GrantTable {
    table: Mapping,
    next: usize,
}

impl GrantTable {
    /// Maps the table of a domain, as many frames as are needed for the grants.
    pub fn map(domain: &BareDomain, grants: usize) -> Result<Self> {
        let frames = (FIRST + grants)
            .div_ceil(ENTRIES_PER_FRAME)
            .min(GRANT_FRAMES);
        let resource = Resource {
            dom: domain.id(),
            kind: RESOURCE,
            id: 0,
        };
        let table = domain.xen().privcmd().map_resource(resource, 0, frames)?;
        Ok(Self { table, next: FIRST })
    }

    /// Grants frames to domain 0; gives the references.
    pub fn grant(&mut self, frames: &[u64], writable: bool) -> Vec<u32> {
        let flags = PERMIT_ACCESS | if writable { 0 } else { READONLY };
        frames
            .iter()
            .map(|&frame| {
                let reference = self.next;
                self.next += 1;
                self.table.write_at(
                    reference * size_of::<Entry>(),
                    &Entry {
                        flags,
                        domid: 0,
                        frame: frame as u32,
                    },
                );
                reference as u32
            })
            .collect()
    }

    /// A reference that nothing is granted by.
    pub fn unused(&self) -> u32 {
        self.next as u32 + 1
    }

    /// Ends a grant that is not in use.
    pub fn revoke(&self, reference: u32) {
        self.table
            .write_at(reference as usize * size_of::<Entry>(), &Entry::default());
    }

    /// Grants again what was revoked.
    pub fn restore(&self, reference: u32, frame: u64) {
        self.table.write_at(
            reference as usize * size_of::<Entry>(),
            &Entry {
                flags: PERMIT_ACCESS,
                domid: 0,
                frame: frame as u32,
            },
        );
    }

    /// Whether a frame is granted, writable, by a reference.
    pub fn is_granted(&self, reference: u32, frame: u64) -> bool {
        let entry = self
            .table
            .read_at::<Entry>(reference as usize * size_of::<Entry>());
        let flags = entry.flags & !(READING | WRITING);
        (flags, entry.domid, entry.frame) == (PERMIT_ACCESS, 0, frame as u32)
    }

    fn flags(&self, reference: u32) -> u16 {
        self.table
            .read_at::<Entry>(reference as usize * size_of::<Entry>())
            .flags
    }

    /// Whether a grant is mapped or being copied.
    pub fn in_use(&self, reference: u32) -> bool {
        self.flags(reference) & (READING | WRITING) != 0
    }

    /// Whether a grant is mapped writable.
    pub fn written(&self, reference: u32) -> bool {
        self.flags(reference) & WRITING != 0
    }

    /// How many of the grants are in use.
    pub fn count_in_use(&self, references: &[u32]) -> usize {
        references.iter().filter(|&&r| self.in_use(r)).count()
    }
}
