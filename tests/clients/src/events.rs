// SPDX-License-Identifier: GPL-2.0

//! Edera's xenevtchn: `/dev/xen/evtchn`.
//!
//! Version 0.0.25 has exchanged the numbers of two requests: what it calls unbinding makes a port for a domain, and what
//! it calls making one unbinds. They are called here for what they do.

use std::time::Duration;

use tokio::time::timeout;
use xenevtchn::raw::RawEventChannelService;
use xenevtchn::EventChannelService;

use crate::{equal, Outcome};

const OWN: u32 = 0;

/// Both ends of a channel in one process: by the file itself, and by the crate's thread that reads it.
pub async fn channel() -> Outcome {
    let raw = RawEventChannelService::open()?;
    let port = raw.unbind(OWN)?;
    let other = raw.bind_interdomain(OWN, port)?;
    raw.notify(other)?;
    let mut pending = raw.pending()?;
    // The end that was bound last may be pending from that.
    if pending == other {
        pending = raw.pending()?;
    }
    equal(pending, port, "the port that is pending")?;
    raw.bind_unbound_port(other)?;
    raw.bind_unbound_port(port)?;
    // Neither is there any more.
    if raw.notify(other).is_ok() || raw.notify(port).is_ok() {
        return Err("a port that was unbound can be notified".into());
    }

    let service = EventChannelService::open().await?;
    let ours = service.unbind(OWN).await?;
    let theirs = service.bind_interdomain(OWN, ours).await?;
    let heard = service.subscribe(ours).await?;
    for _ in 0..10 {
        service.notify(theirs).await?;
        timeout(Duration::from_secs(10), heard.notified()).await?;
        service.unmask(ours).await?;
    }
    Ok(())
}
