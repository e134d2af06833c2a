// SPDX-License-Identifier: GPL-2.0

//! Which file has which port of the domain.
//!
//! # Locks
//!
//! `Ports::files`, a mutex, serialises binding and unbinding, as the kernel's own lock of its
//! interrupts does. Within it the closer's list is locked, a mutex, and within either a file's
//! table, a spinlock, for reading and writing too. Interrupts take none of them; nor does sending
//! events, which asks the [slots](super::slot).

use super::{
    file::EventFile,
    ioctl,
    slot::{
        FileId,
        Owner,
        Slot, //
    },
    table::PortData, //
};
use core::sync::atomic::{
    AtomicU32,
    AtomicU64,
    Ordering, //
};
use kernel::{
    ffi::c_uint,
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use xen::{
    domid::DomId,
    event::{
        self,
        BoundPort,
        Channel,
        Lingering,
        Port, //
    },
    ext::{
        global::Global,
        module::ModuleRef,
        once_box::OnceBox,
        resume::Resumes,
        work::{
            Job,
            Worker, //
        }, //
    }, //
};

/// What all files share.
pub(crate) static PORTS: Global<Ports> = Global::new();

/// Slots in a leaf: a page of them.
const LEAF_SLOTS: usize = 512;
/// Some of the slots.
type Leaf = [Slot; LEAF_SLOTS];
/// Leaves for as many ports as a domain can have with any of Xen's interfaces (2^17).
const LEAVES: usize = 256;

/// The ports of the domain that files have, and the files that have ports.
#[pin_data]
pub(crate) struct Ports {
    /// A slot for each port; a leaf of them is allocated when a port in it is first bound.
    leaves: [OnceBox<Leaf>; LEAVES],
    #[pin]
    files: Mutex<Files>,
    /// Closes channels that others still have references to.
    #[pin]
    closer: Worker<Closer>,
    #[pin]
    resumes: Resumes,
    /// Events delivered to ports that are gone.
    events: AtomicU64,
    /// How many resumes have been taken notice of.
    resumed: AtomicU32,
}

impl Ports {
    /// No ports.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            try_pin_init!(Self {
                leaves: [const { OnceBox::new() }; LEAVES],
                files <- new_mutex!(Files::new(), "xen_evtchn::Ports::files"),
                closer <- Worker::new(c"xen-evtchn", Closer::new()?),
                resumes <- Resumes::new(),
                events: AtomicU64::new(0),
                resumed: AtomicU32::new(0),
            }),
            GFP_KERNEL,
        )
    }

    /// The slot of `port`, if a port near it was ever bound.
    #[inline]
    pub(crate) fn slot(&self, port: Port) -> Option<&Slot> {
        let port = port.raw() as usize;
        self.leaves
            .get(port / LEAF_SLOTS)?
            .get()?
            .get(port % LEAF_SLOTS)
    }

    /// The slot of `port`, made if need be.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that no port can have, `ENOMEM`.
    fn make_slot(&self, port: Port) -> Result<&Slot> {
        if self.slot(port).is_none() {
            let leaf = self
                .leaves
                .get(port.raw() as usize / LEAF_SLOTS)
                .ok_or(EINVAL)?;
            leaf.fill(KBox::init(
                pin_init::init_array_from_fn(|_| Slot::new()),
                GFP_KERNEL,
            )?);
        }
        self.slot(port).ok_or(EINVAL)
    }

    /// Binds the channel that `make` gets from Xen to `file`. Returns its port.
    ///
    /// # Errors
    ///
    /// Those of `make`, `EBUSY` if the port is another's, `ENOMEM`, `ENOSPC`.
    pub(crate) fn bind(
        &self,
        file: &Arc<EventFile>,
        make: impl Fn(&mut Waiting) -> Result<Channel>,
    ) -> Result<Port> {
        let mut files = self.files.lock();
        self.revalidate(&files);
        let id = file.register(&mut files)?;
        let index = file.reserve()?;
        match self.bind_at(&files, file, id, index, make) {
            Ok(port) => Ok(port),
            Err(e) => {
                file.vacate(index);
                Err(e)
            }
        }
    }

    fn bind_at(
        &self,
        files: &Files,
        file: &Arc<EventFile>,
        id: FileId,
        index: u32,
        make: impl Fn(&mut Waiting) -> Result<Channel>,
    ) -> Result<Port> {
        // A number that the kernel still has an interrupt for, of a channel that was closed behind
        // its back, cannot be bound. There are few of them, if any.
        const ATTEMPTS: usize = 8;

        let owner = Owner::new(id, index).ok_or(ENOSPC)?;
        let mut unusable = KVec::new();
        for _ in 0..ATTEMPTS {
            // Until the kernel has an interrupt for the port, the closer could take the channel for
            // an earlier one of that number.
            let mut waiting = self.closer.job().waiting.lock();
            let channel = make(&mut waiting)?;
            let port = channel.port();
            if channel.is_new() {
                waiting.forget(port);
            }
            let slot = self.make_slot(port)?;
            if let Some(former) = slot.owner() {
                // Xen has given us the number, so whoever had it has it no more.
                self.evict(files, former, slot, id);
            }
            if event::has_interrupt(port) && channel.is_new() {
                // Close it, occupy its number, which is most likely the next one that Xen hands
                // out, and try again: until then its other end cannot be bound.
                drop(channel);
                unusable.push(Channel::unbound(DomId::SELF)?, GFP_KERNEL)?;
                continue;
            }
            let data = PortData::new(file.clone(), index, port);
            let bound = BoundPort::bind(channel, file.name()?, data)?;
            drop(waiting);
            slot.publish(owner);
            file.insert(index, bound);
            return Ok(port);
        }
        Err(EBUSY)
    }

    /// Binds `port`, which someone else has allocated, to `file`.
    ///
    /// # Errors
    ///
    /// `EISCONN` if it is the file's already, `EBUSY` if it is another's or the kernel's, `EINVAL`
    /// if there is no such channel, `ENOMEM`, `ENOSPC`.
    pub(crate) fn bind_static(&self, file: &Arc<EventFile>, port: Port) -> Result {
        self.bind(file, |waiting| {
            match self.slot(port).and_then(Slot::owner) {
                Some(owner) if Some(owner.file()) == file.id() => return Err(ioctl::is_connected()),
                Some(_) => return Err(EBUSY),
                None => {}
            }
            if waiting.keeps(port) {
                return Err(EBUSY);
            }
            let channel = Channel::existing(port)?;
            if event::is_store_port(port) {
                return Err(EBUSY);
            }
            Ok(channel)
        })
        .map(|_| ())
    }

    /// Unbinds `port` from `file`. No event of it is reported afterwards.
    ///
    /// # Errors
    ///
    /// `ENOTCONN` if it is not the file's.
    pub(crate) fn unbind(&self, file: &EventFile, port: Port) -> Result {
        let files = self.files.lock();
        self.revalidate(&files);
        let id = file.id().ok_or_else(ioctl::not_connected)?;
        match self.slot(port).and_then(|slot| Some((slot, slot.owner()?))) {
            Some((slot, owner)) if owner.file() == id => {
                withdraw(slot);
                self.part(file.leave(owner.index()));
                file.vacate(owner.index());
                Ok(())
            }
            _ => {
                let index = file.find_lost(port).ok_or_else(ioctl::not_connected)?;
                file.vacate(index);
                Ok(())
            }
        }
    }

    /// Unbinds all ports of `file`, which nobody has any more.
    pub(crate) fn unbind_all(&self, file: &EventFile) {
        let Some(id) = file.id() else {
            return;
        };
        for index in 0..file.places() {
            let _files = self.files.lock();
            if let Some(port) = file.port_at(index) {
                if let Some(slot) = self.slot(port) {
                    withdraw(slot);
                }
            }
            self.part(file.leave(index));
            file.vacate(index);
        }
        let former = self.files.lock().remove(id);
        drop(former);
    }

    /// Unbinds a port that was taken from its table.
    fn part(&self, port: Option<BoundPort<PortData>>) {
        if let Some(lingering) = port.and_then(BoundPort::unbind) {
            self.closer.job().add(lingering);
            self.closer.kick();
        }
    }

    /// Whether the system was suspended, and bindings may be of a former life of the domain.
    #[inline]
    pub(crate) fn is_stale(&self) -> bool {
        self.resumes.count() != self.resumed.load(Ordering::Relaxed)
    }

    /// Finds the bindings that did not survive that. May sleep.
    #[cold]
    pub(crate) fn refresh(&self) {
        self.revalidate(&self.files.lock());
    }

    fn revalidate(&self, files: &Files) {
        if !self.is_stale() {
            return;
        }
        let count = self.resumes.count();
        for file in files.iter() {
            for index in 0..file.places() {
                let Some(port) = file.outdated_at(index) else {
                    continue;
                };
                if let Some(slot) = self.slot(port) {
                    withdraw(slot);
                }
                if let Some(bound) = file.lose(index) {
                    bound.abandon();
                }
            }
        }
        self.resumed.store(count, Ordering::Relaxed);
    }

    /// Counts what was delivered to a port that is gone.
    pub(crate) fn count_events(&self, events: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
    }

    /// Writes what all files have together.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut totals = Totals::default();
        {
            let files = self.files.lock();
            totals.events = self.events.load(Ordering::Relaxed);
            for file in files.iter() {
                totals.files += 1;
                file.add_to(&mut totals);
            }
        }
        writeln!(f, "files {}", totals.files)?;
        writeln!(f, "ports {}", totals.ports)?;
        writeln!(f, "pending {}", totals.pending)?;
        writeln!(f, "masked {}", totals.masked)?;
        writeln!(f, "lost {}", totals.lost)?;
        writeln!(f, "closing {}", self.closer.job().len())?;
        writeln!(f, "events {}", totals.events)
    }

    /// Takes a number from a binding whose channel is gone.
    fn evict(&self, files: &Files, former: Owner, slot: &Slot, by: FileId) {
        withdraw(slot);
        let Some(file) = files.get(former.file()) else {
            return;
        };
        if former.file() == by {
            // The file could not tell the two apart.
            if let Some(bound) = file.leave(former.index()) {
                bound.abandon();
            }
            file.vacate(former.index());
        } else if let Some(bound) = file.lose(former.index()) {
            bound.abandon();
        }
    }
}

/// What files that have had ports have together.
#[derive(Default)]
pub(crate) struct Totals {
    files: u64,
    pub(crate) ports: u64,
    pub(crate) pending: u64,
    pub(crate) masked: u64,
    pub(crate) lost: u64,
    pub(crate) events: u64,
}

/// Withdraws the slot's owner, and waits until nobody sends events in its name.
///
/// That takes no longer than a hypercall, unless the sender is preempted.
fn withdraw(slot: &Slot) {
    const SPINS: u32 = 200;

    slot.withdraw();
    let mut spins = 0;
    while !slot.is_idle() {
        if spins < SPINS {
            spins += 1;
            core::hint::spin_loop();
        } else {
            fsleep(Delta::from_micros(50));
        }
    }
}

/// The files that have had a port, by their numbers.
pub(crate) struct Files {
    /// The file of number `id` at index `id - 1`.
    places: KVVec<Place>,
    vacant: Option<u32>,
}

enum Place {
    /// Free. Names the next free place.
    Vacant(Option<u32>),
    Taken(Arc<EventFile>),
}

impl Files {
    const fn new() -> Self {
        Self {
            places: KVVec::new(),
            vacant: None,
        }
    }

    /// Gives `file` a number.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ENFILE`.
    pub(crate) fn add(&mut self, file: &Arc<EventFile>) -> Result<FileId> {
        let taken = Place::Taken(file.clone());
        let index = match self.vacant {
            Some(index) => {
                let place = self.places.get_mut(index as usize).ok_or(ENFILE)?;
                if let Place::Vacant(next) = core::mem::replace(place, taken) {
                    self.vacant = next;
                }
                index
            }
            None => {
                let index = u32::try_from(self.places.len()).map_err(|_| ENFILE)?;
                if FileId::new(index.saturating_add(1)).is_none() {
                    return Err(ENFILE);
                }
                self.places.push(taken, GFP_KERNEL)?;
                index
            }
        };
        FileId::new(index.saturating_add(1)).ok_or(ENFILE)
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<EventFile>> {
        self.places.iter().filter_map(|place| match place {
            Place::Taken(file) => Some(file),
            Place::Vacant(_) => None,
        })
    }

    fn get(&self, id: FileId) -> Option<&Arc<EventFile>> {
        match self.places.get(id.get().checked_sub(1)? as usize)? {
            Place::Taken(file) => Some(file),
            Place::Vacant(_) => None,
        }
    }

    /// Takes a number back. The file is to be dropped without the lock.
    fn remove(&mut self, id: FileId) -> Option<Arc<EventFile>> {
        let index = id.get().checked_sub(1)?;
        let place = self.places.get_mut(index as usize)?;
        match core::mem::replace(place, Place::Vacant(self.vacant)) {
            Place::Taken(file) => {
                self.vacant = Some(index);
                Some(file)
            }
            vacant => {
                *place = vacant;
                None
            }
        }
    }
}

/// Closes channels that outlive their binding, once their last reference is gone.
///
/// The kernel tells nobody of that, so it has to be looked for.
struct Closer {
    waiting: Pin<KBox<Mutex<Waiting>>>,
}

pub(crate) struct Waiting {
    /// Each keeps the module loaded: without it nobody would close the channel.
    channels: KVVec<(Lingering, ModuleRef)>,
    /// In how many milliseconds to look again: soon at first, then ever later.
    delay: u32,
}

impl Closer {
    const SHORTEST: u32 = 5;
    const LONGEST: u32 = 1000;

    fn new() -> Result<Self> {
        let waiting = Waiting {
            channels: KVVec::new(),
            delay: Self::SHORTEST,
        };
        Ok(Self {
            waiting: KBox::pin_init(
                new_mutex!(waiting, "xen_evtchn::Closer::waiting"),
                GFP_KERNEL,
            )?,
        })
    }

    fn len(&self) -> usize {
        self.waiting.lock().channels.len()
    }

    /// Called while a file is open, which has the module loaded.
    fn add(&self, channel: Lingering) {
        let mut waiting = self.waiting.lock();
        waiting.delay = Self::SHORTEST;
        // Without memory it is dropped, and thereby closed now.
        let _ = waiting
            .channels
            .push((channel, ModuleRef::get()), GFP_KERNEL);
    }
}

impl Waiting {
    /// Whether a channel of this number is still to be closed. It is closed now, if it can be.
    fn keeps(&mut self, port: Port) -> bool {
        self.channels
            .retain(|(channel, _)| channel.port() != port || !channel.settle());
        self.channels
            .iter()
            .any(|(channel, _)| channel.port() == port)
    }

    /// Leaves the channels alone that had this number, which is another's now.
    fn forget(&mut self, port: Port) {
        self.channels.retain(|(channel, _)| {
            if channel.port() == port {
                channel.forget();
            }
            channel.port() != port
        });
    }
}

impl Job for Closer {
    fn run(&self) -> Option<c_uint> {
        let mut waiting = self.waiting.lock();
        waiting.channels.retain(|(channel, _)| !channel.settle());
        if waiting.channels.is_empty() {
            return None;
        }
        let delay = waiting.delay;
        waiting.delay = delay.saturating_mul(2).min(Self::LONGEST);
        Some(delay)
    }
}
