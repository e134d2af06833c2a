// SPDX-License-Identifier: GPL-2.0

//! vm-memory's mappings of other domains: foreign ones by `/dev/xen/privcmd`, grants by `/dev/xen/gntdev`.

use std::fs::OpenOptions;

use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRange, MmapRegion,
    MmapXenFlags,
};

use crate::calls::{self, PAGE};
use crate::{equal, Outcome};

/// What tells an address that stands for a grant from another.
const GRANT: u64 = 1 << 63;

/// A page of a domain's.
fn page(
    device: &str,
    domain: u32,
    address: GuestAddress,
    flags: MmapXenFlags,
) -> Outcome<GuestMemoryMmap<()>> {
    let file = OpenOptions::new().read(true).write(true).open(device)?;
    let range = MmapRange::new(
        PAGE as usize,
        Some(FileOffset::new(file, 0)),
        address,
        flags.bits(),
        domain,
    );
    let region = GuestRegionMmap::new(MmapRegion::from_range(range)?, address)
        .map_err(|e| format!("{e:?}"))?;
    Ok(GuestMemoryMmap::from_regions(vec![region])?)
}

/// The same as another client sees there.
pub async fn foreign(domain: u32, frame: u64) -> Outcome {
    let address = GuestAddress(frame * PAGE);
    let memory = page("/dev/xen/privcmd", domain, address, MmapXenFlags::FOREIGN)?;
    let mut bytes = vec![0; PAGE as usize];
    memory.read_slice(&mut bytes, address)?;
    if bytes.iter().all(|&byte| byte == 0) {
        return Err("the frame is empty".into());
    }
    equal(bytes, calls::frame(domain, frame).await?, "the frame")
}

/// Reads and writes a page that is mapped all the time, then one that is mapped for each access.
pub fn granted(domain: u32, byte: u8, reference: u64) -> Outcome {
    let address = GuestAddress(GRANT | (reference * PAGE));
    for (flags, byte) in [
        (MmapXenFlags::GRANT, byte),
        (
            MmapXenFlags::GRANT | MmapXenFlags::NO_ADVANCE_MAP,
            byte.wrapping_add(1),
        ),
    ] {
        let memory = page("/dev/xen/gntdev", domain, address, flags)?;
        let mut bytes = vec![0; PAGE as usize];
        memory.read_slice(&mut bytes, address)?;
        equal(bytes, vec![byte; PAGE as usize], "the guest's page")?;
        memory.write_slice(&vec![byte.wrapping_add(1); PAGE as usize], address)?;
    }
    Ok(())
}
