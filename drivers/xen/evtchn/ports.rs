// SPDX-License-Identifier: GPL-2.0

//! Which file has which port of the domain.
//!
//! # Locks
//!
//! `Ports::files`, a mutex, serialises binding and unbinding, as the kernel's own lock of its
//! interrupts does. Within it, a file's table is locked, a spinlock, for reading and writing too.
//! Interrupts take neither; nor does sending events, which asks the [slots](super::slot).

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
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};
use xen::{
    event::{
        self,
        BoundPort,
        Channel,
        Port, //
    },
    ext::global::Global, //
};

/// What all files share.
pub(crate) static PORTS: Global<Ports> = Global::new();

/// Slots in a leaf: a page of them.
const LEAF_SLOTS: usize = 512;
/// Leaves for as many ports as a domain can have with any of Xen's interfaces (2^17).
const LEAVES: usize = 256;

/// The ports of the domain that files have, and the files that have ports.
#[pin_data]
pub(crate) struct Ports {
    /// A slot for each port; a leaf of them is allocated when a port in it is first bound.
    leaves: KVec<SetOnce<KVec<Slot>>>,
    #[pin]
    files: Mutex<Files>,
}

impl Ports {
    /// No ports.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let mut leaves = KVec::with_capacity(LEAVES, GFP_KERNEL)?;
        for _ in 0..LEAVES {
            leaves.push(SetOnce::new(), GFP_KERNEL)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                leaves,
                files <- new_mutex!(Files::new(), "xen_evtchn::Ports::files"),
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
            .as_ref()?
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
            let mut slots = KVec::with_capacity(LEAF_SLOTS, GFP_KERNEL)?;
            for _ in 0..LEAF_SLOTS {
                slots.push(Slot::new(), GFP_KERNEL)?;
            }
            leaf.populate(slots);
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
        make: impl FnOnce() -> Result<Channel>,
    ) -> Result<Port> {
        let mut files = self.files.lock();
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
        make: impl FnOnce() -> Result<Channel>,
    ) -> Result<Port> {
        let owner = Owner::new(id, index).ok_or(ENOSPC)?;
        let channel = make()?;
        let port = channel.port();
        let slot = self.make_slot(port)?;
        if let Some(former) = slot.owner() {
            // Xen has given us the number, so whoever had it has it no more.
            self.evict(files, former, slot, id);
        }
        let bound = BoundPort::bind(channel, file.name()?, PortData::new(file.clone(), index))?;
        slot.publish(owner);
        file.insert(index, bound);
        Ok(port)
    }

    /// Binds `port`, which someone else has allocated, to `file`.
    ///
    /// # Errors
    ///
    /// `EISCONN` if it is the file's already, `EBUSY` if it is another's or the kernel's, `EINVAL`
    /// if there is no such channel, `ENOMEM`, `ENOSPC`.
    pub(crate) fn bind_static(&self, file: &Arc<EventFile>, port: Port) -> Result {
        self.bind(file, || {
            match self.slot(port).and_then(Slot::owner) {
                Some(owner) if Some(owner.file()) == file.id() => return Err(ioctl::is_connected()),
                Some(_) => return Err(EBUSY),
                None => {}
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
        let _files = self.files.lock();
        let id = file.id().ok_or_else(ioctl::not_connected)?;
        match self.slot(port).and_then(|slot| Some((slot, slot.owner()?))) {
            Some((slot, owner)) if owner.file() == id => {
                withdraw(slot);
                drop(file.leave(owner.index()));
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
            drop(file.leave(index));
            file.vacate(index);
        }
        let former = self.files.lock().remove(id);
        drop(former);
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
