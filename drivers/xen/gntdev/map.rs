// SPDX-License-Identifier: GPL-2.0

//! A map: grants that a process has named, at an offset of the file.
//!
//! Memory for each grant: four bytes, and two more where they are of different domains.

use super::{
    file::GntdevFile,
    notify::{
        Notify,
        NotifySlot, //
    },
    stats::STATS,
    table::Place,
    usage::{
        Usage,
        Use, //
    },
};
use core::sync::atomic::{
    AtomicUsize,
    Ordering, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Mutex,
        MutexGuard, //
    },
    uaccess::UserSliceReader, //
};
use xen::{
    domid::DomId,
    ext::{
        few::Few,
        task, //
    },
    grant::{
        Access,
        Ref, //
    },
    restriction::{
        Authorised,
        Restriction, //
    },
};

/// The grants of a map, in little room.
pub(crate) struct Grants {
    refs: Few<Ref>,
    domains: Domains,
}

/// Whose grants they are.
enum Domains {
    /// All of one domain.
    One(DomId),
    /// Each of its own.
    Each(KVVec<DomId>),
}

impl Domains {
    /// Adds the domain of the grant `raw`, which is number `index` of `count`.
    #[inline]
    fn add(
        &mut self,
        raw: RawGrant,
        index: usize,
        count: usize,
        restriction: &Restriction,
    ) -> Result {
        let [domid, _] = raw;
        match self {
            Self::One(one) if u32::from(one.raw()) == domid => {}
            Self::One(one) => {
                let domain = allowed(raw, restriction)?;
                let mut each = KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?;
                each.extend_with(index, *one, GFP_KERNEL)?;
                each.push(domain, GFP_KERNEL)?;
                *self = Self::Each(each);
            }
            Self::Each(each) => each.push(allowed(raw, restriction)?, GFP_KERNEL)?,
        }
        Ok(())
    }
}

/// `struct ioctl_gntdev_grant_ref`: the domain and the reference.
type RawGrant = [u32; 2];

/// How many of them are read at once.
const AT_ONCE: usize = 32;

/// The domain of a grant, if it is one, and `restriction` allows it.
fn allowed([domid, _]: RawGrant, restriction: &Restriction) -> Result<DomId> {
    let domain = DomId::from_wide(domid).ok_or(EINVAL)?;
    restriction.check(domain).map_err(|_| EPERM)?;
    Ok(domain)
}

impl Grants {
    /// Reads `count` grants as `struct ioctl_gntdev_grant_ref`, each of a domain that `restriction`
    /// allows.
    ///
    /// `count` must have been checked against a limit.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `EINVAL` for what is no domain identifier; `EPERM` for a domain that the file is
    /// not allowed; `EINTR` when a fatal signal is pending; `ENOMEM`.
    pub(crate) fn read(
        reader: &mut UserSliceReader,
        count: usize,
        restriction: &Restriction,
    ) -> Result<Self> {
        let first = reader.read::<RawGrant>()?;
        let mut domains = Domains::One(allowed(first, restriction)?);
        let [_, reference] = first;
        if count == 1 {
            return Ok(Self {
                refs: Few::One(Ref::new(reference)),
                domains,
            });
        }
        let mut refs = KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?;
        refs.push(Ref::new(reference), GFP_KERNEL)?;
        let mut add = |raw: RawGrant| {
            let [_, reference] = raw;
            domains.add(raw, refs.len(), count, restriction)?;
            refs.push(Ref::new(reference), GFP_KERNEL)?;
            Ok::<_, Error>(count.saturating_sub(refs.len()))
        };
        let mut left = count.saturating_sub(1);
        while left != 0 {
            if left >= AT_ONCE {
                for raw in reader.read::<[RawGrant; AT_ONCE]>()? {
                    left = add(raw)?;
                }
                task::checkpoint()?;
            } else {
                left = add(reader.read()?)?;
            }
        }
        Ok(Self {
            refs: Few::Many(refs),
            domains,
        })
    }

    /// Reads `count` references of grants, all of `domain`.
    ///
    /// # Errors
    ///
    /// As [`Grants::read`].
    #[cfg(CONFIG_DMA_SHARED_BUFFER)]
    pub(crate) fn read_of(
        domain: DomId,
        reader: &mut UserSliceReader,
        count: usize,
    ) -> Result<Self> {
        let mut refs = KVVec::with_capacity(count, GFP_KERNEL | __GFP_NOWARN)?;
        for index in 0..count {
            refs.push(Ref::new(reader.read::<u32>()?), GFP_KERNEL)?;
            if index % 1024 == 1023 {
                task::checkpoint()?;
            }
        }
        Ok(Self {
            refs: Few::Many(refs),
            domains: Domains::One(domain),
        })
    }

    /// The grants, each with the right to map it, or `EPERM` when `restriction` does not allow its
    /// domain (any more).
    pub(crate) fn each<'a>(
        &'a self,
        restriction: &'a Restriction,
    ) -> impl Iterator<Item = Result<(Authorised<'a>, Ref)>> + 'a {
        let domain = |index| match &self.domains {
            Domains::One(domain) => Some(*domain),
            Domains::Each(each) => each.get(index).copied(),
        };
        self.refs
            .iter()
            .enumerate()
            .map(move |(index, &reference)| {
                let domain = domain(index).ok_or(EINVAL)?;
                Ok((restriction.check(domain).map_err(|_| EPERM)?, reference))
            })
    }

    /// The right to map the grants, if they are all of one domain.
    ///
    /// # Errors
    ///
    /// `EPERM` when `restriction` does not allow it (any more).
    pub(crate) fn right<'a>(&self, restriction: &'a Restriction) -> Result<Option<Authorised<'a>>> {
        match &self.domains {
            Domains::One(domain) => Ok(Some(restriction.check(*domain).map_err(|_| EPERM)?)),
            Domains::Each(_) => Ok(None),
        }
    }

    /// The references.
    pub(crate) fn references(&self) -> &[Ref] {
        &self.refs
    }

    /// Calls `each` with runs of grants of the same domain.
    pub(crate) fn by_domain(&self, mut each: impl FnMut(DomId, usize)) {
        match &self.domains {
            Domains::One(domain) => each(*domain, self.refs.len()),
            Domains::Each(domains) => {
                for run in domains.chunk_by(|a, b| a == b) {
                    if let Some(domain) = run.first() {
                        each(*domain, run.len());
                    }
                }
            }
        }
    }
}

/// A map.
#[pin_data]
pub(crate) struct Map {
    place: Place,
    pub(crate) grants: Grants,
    /// Begins with `notify` locked.
    use_: Use,
    /// What is to be done when a page is unmapped. Taken by the MMU notifier: no memory is
    /// allocated while it is locked.
    #[pin]
    notify: Mutex<NotifySlot>,
    mapped: AtomicUsize,
    waiting: AtomicUsize,
}

impl Map {
    /// A map of `grants` at `place`.
    pub(crate) fn new(place: Place, grants: Grants) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                place,
                grants,
                use_: Use::new(),
                notify <- new_mutex!(NotifySlot::default(), "gntdev::Map::notify"),
                mapped: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The first offset, in pages.
    pub(crate) fn index(&self) -> u64 {
        self.place.start()
    }

    /// How many grants there are.
    pub(crate) fn count(&self) -> usize {
        self.place.count()
    }

    /// Whether this is one of the maps of `file`, be it to be found there or not any more.
    pub(crate) fn is_of(&self, file: &GntdevFile) -> bool {
        self.place.is_of(file)
    }

    /// How many grants are mapped.
    pub(crate) fn mapped(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// How many of those are to be unmapped.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Says what is to be done when a page is unmapped, in place of what was to be done.
    ///
    /// # Errors
    ///
    /// `EINVAL` when a byte is to be cleared in what is mapped for reading.
    pub(crate) fn set_notify(&self, notify: Option<Notify>) -> Result {
        let mut slot = self.notify.lock();
        if notify.as_ref().is_some_and(Notify::clears) && self.use_.is(Usage::ReadOnly) {
            drop(slot);
            return Err(EINVAL);
        }
        let old = core::mem::replace(&mut **slot, notify);
        // What is given up with it may not be given up under the lock.
        drop(slot);
        drop(old);
        Ok(())
    }

    /// What is to be done when a page is unmapped, locked.
    pub(crate) fn notify(&self) -> MutexGuard<'_, NotifySlot> {
        self.notify.lock()
    }

    /// Takes note of how many grants are mapped, and how many of them are to be unmapped.
    pub(crate) fn note(&self, mapped: usize, waiting: usize) {
        let old = self.mapped.swap(mapped, Ordering::Relaxed);
        STATS.mapped.change(old, mapped);
        let old = self.waiting.swap(waiting, Ordering::Relaxed);
        STATS.waiting.change(old, waiting);
    }
}

/// The right to map a map: one has it at a time.
pub(crate) struct Claim(Arc<Map>);

impl Claim {
    /// Takes the right to map `map` with `access`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when somebody has it, or has unmapped but is still waited for; or when a byte is to
    /// be cleared at the end, and `access` is for reading.
    pub(crate) fn new(map: Arc<Map>, access: Access) -> Result<Self> {
        let notify = map.notify.lock();
        if access == Access::ReadOnly && notify.as_ref().is_some_and(Notify::clears) {
            return Err(EINVAL);
        }
        let usage = match access {
            Access::ReadOnly => Usage::ReadOnly,
            Access::ReadWrite => Usage::ReadWrite,
        };
        if !map.use_.begin(usage) {
            return Err(EINVAL);
        }
        drop(notify);
        Ok(Self(map))
    }
}

impl core::ops::Deref for Claim {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.note(0, 0);
        self.0.use_.end();
    }
}
