// SPDX-License-Identifier: GPL-2.0

//! Which domain files are restricted to from their opening on, in a domain that is not the initial
//! one.
//!
//! A device model's domain may act on the domain that it serves, and xenstore tells which that is.

use core::sync::atomic::{
    AtomicU32,
    Ordering, //
};
use kernel::prelude::*;
use xen::{
    domain,
    domid::DomId,
    ext::latch::Latch,
    restriction::Restriction,
    store::{
        self,
        OnReady,
        Ready, //
    },
};

xen::module_param! {
    /// Leaves files unrestricted in a domain that is not the initial one.
    static UNRESTRICTED: bool = false, "unrestricted", 0,
        "Don't restrict hypercalls to target domain if running in a domU";
}

/// Stands for no restriction: no domain has this identifier.
const ANY: u32 = u32::MAX;

/// To whom files are restricted, once that is known.
static TARGET: AtomicU32 = AtomicU32::new(ANY);
static KNOWN: Latch = Latch::new();

/// Reads the target when xenstore can be used.
pub(crate) struct Target;

impl OnReady for Target {
    fn ready(&self) {
        let target = store::read_u64(c"target", c"")
            .ok()
            .and_then(|target| u32::try_from(target).ok())
            .and_then(DomId::from_wide);
        if target.is_none() {
            pr_err!("no target domain found, blocking all hypercalls\n");
        }
        // No domain has the other identifier, ever.
        let target = target.unwrap_or(DomId::IDLE);
        TARGET.store(u32::from(target.raw()), Ordering::Relaxed);
        KNOWN.open();
    }
}

/// Finds out, or begins to, what files are restricted to.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn watch() -> Result<Option<Pin<KBox<Ready<Target>>>>> {
    if domain::is_initial() {
        KNOWN.open();
        return Ok(None);
    }
    if UNRESTRICTED.get() {
        if !domain::is_locked_down() {
            KNOWN.open();
            return Ok(None);
        }
        pr_warn!("kernel is locked down, parameter \"unrestricted\" ignored\n");
    }
    KBox::try_pin_init(Ready::register(Target), GFP_KERNEL).map(Some)
}

/// What a file that is being opened is restricted to. Waits until that is known.
///
/// # Errors
///
/// `EINTR` when a signal comes first.
pub(crate) fn restriction() -> Result<Restriction> {
    KNOWN.wait()?;
    Ok(match DomId::from_wide(TARGET.load(Ordering::Relaxed)) {
        Some(target) => Restriction::to(target),
        None => Restriction::none(),
    })
}
