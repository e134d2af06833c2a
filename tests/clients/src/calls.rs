// SPDX-License-Identifier: GPL-2.0

//! Edera's xencall: `/dev/xen/privcmd`.

use xencall::XenCall;

use crate::{equal, Outcome};

pub const PAGE: u64 = 4096;

/// Hypercalls with buffers of many kinds.
pub async fn host() -> Outcome {
    let call = XenCall::open(0)?;
    let capabilities = call.get_version_capabilities().await?;
    let text = String::from_utf8_lossy(&capabilities.capabilities.map(|c| c as u8)).into_owned();
    if !text.starts_with("xen-3.0-x86_64") {
        return Err(format!("Xen's capabilities are {text:?}").into());
    }
    let info = call.get_domain_info(0).await?;
    equal(info.domid, 0, "the domain that was asked for")?;
    let machine = call.phys_info().await?;
    let processors = call.cpu_topology().await?;
    equal(
        processors.len(),
        machine.nr_cpus as usize,
        "how many processors have a place",
    )?;
    let (text, _) = call.read_console_ring_raw(false, 0).await?;
    if text.iter().all(|&byte| byte == 0) {
        return Err("Xen's console is empty".into());
    }
    // A wrong one gets an error, and the next one none.
    if call.get_domain_info(0x7ff1).await.is_ok() {
        return Err("there is a domain that cannot be".into());
    }
    Ok(())
}

/// The first bytes of a frame.
pub async fn frame(domain: u32, frame: u64) -> Outcome<Vec<u8>> {
    let call = XenCall::open(0)?;
    let address = call.mmap(0, PAGE).await.ok_or("mmap")?;
    call.mmap_batch(domain, 1, address, vec![frame]).await?;
    // SAFETY: A page of that domain's is mapped there; nobody unmaps it before this process ends.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, PAGE as usize) };
    Ok(bytes.to_vec())
}

/// The same frame by two files.
pub async fn foreign(domain: u32, number: u64) -> Outcome {
    let (once, again) = (frame(domain, number).await?, frame(domain, number).await?);
    if once.iter().all(|&byte| byte == 0) {
        return Err("the frame is empty".into());
    }
    equal(once, again, "the frame")
}
