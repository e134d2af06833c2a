// SPDX-License-Identifier: GPL-2.0

//! Edera's xengnt: `/dev/xen/gntdev`.

use xengnt::sys::GrantRef;
use xengnt::{GrantDevice, GrantTab};

use crate::{equal, Outcome};

/// Maps what a guest grants, reads and writes it.
pub fn map(domain: u32, byte: u8, references: &[u32]) -> Outcome {
    let refs = || -> Vec<GrantRef> {
        let grant = |&reference| GrantRef {
            domid: domain,
            reference,
        };
        references.iter().map(grant).collect()
    };
    let table = GrantTab::open()?;
    let memory = table.map_grant_refs(refs(), true, true)?;
    let start = memory.ptr().cast::<u8>();
    for offset in 0..memory.len() {
        // SAFETY: The memory is mapped for as long as `memory` lives, and that long.
        let found = unsafe { start.add(offset).read_volatile() };
        equal(found, byte, "a byte of the guest's")?;
    }
    // SAFETY: As above; nothing else in this process knows of it.
    unsafe { start.write_volatile(byte.wrapping_add(1)) };
    drop(memory);

    let device = GrantDevice::open()?;
    let (index, _) = device.map_grant_ref(refs())?;
    device.unmap_grant_ref(index, references.len() as u32)?;
    Ok(())
}
