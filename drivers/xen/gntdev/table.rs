// SPDX-License-Identifier: GPL-2.0

//! The maps of an open file, by their offsets.
//!
//! Lock order: the mmap lock before a table's. User space is not touched under the table's lock.

use super::{
    file::GntdevFile,
    map::Map,
    offsets::{
        Arena,
        InsertError,
        Node,
        OffsetSpace, //
    },
    stats::STATS,
};
use kernel::{
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        ArcBorrow,
        Mutex, //
    },
};
use xen::ext::{
    gauge::Gauge,
    task, //
};

/// What is at an offset: a map, or nothing that can be found, while the offset cannot be given to
/// another, because the map is being made or is still mapped.
type Entry = Option<Arc<Map>>;

/// After so many maps others may run.
const MAPS_AT_ONCE: usize = 1024;

/// After so many grants others may run, where it takes a while to look at each.
const GRANTS_AT_ONCE: u64 = 64 * 1024;

/// The nodes of the tree of offsets.
struct Nodes(KVVec<Node<Entry>>);

impl Arena<Node<Entry>> for Nodes {
    fn get(&self, index: u32) -> Option<&Node<Entry>> {
        self.0.get(index as usize)
    }

    fn get_mut(&mut self, index: u32) -> Option<&mut Node<Entry>> {
        self.0.get_mut(index as usize)
    }

    fn push(&mut self, node: Node<Entry>) -> Result<u32, Node<Entry>> {
        let Ok(index) = u32::try_from(self.0.len()) else {
            return Err(node);
        };
        if self.0.reserve(1, GFP_KERNEL).is_err() {
            return Err(node);
        }
        self.0
            .push_within_capacity(node)
            .map(|()| index)
            .map_err(|refused| refused.0)
    }
}

/// The maps of an open file.
#[pin_data]
pub(crate) struct Table {
    #[pin]
    space: Mutex<OffsetSpace<Entry, Nodes>>,
    /// The grants of all maps.
    grants: Gauge,
}

/// A range of offsets, taken until this is dropped.
pub(crate) struct Place {
    file: Arc<GntdevFile>,
    /// The first offset, in pages.
    start: u64,
    count: usize,
}

impl Table {
    /// An empty table.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            space <- new_mutex!(OffsetSpace::new(Nodes(KVVec::new())), "gntdev::Table"),
            grants: Gauge::new(),
        })
    }

    /// Lets a map be found.
    pub(crate) fn publish(&self, map: Arc<Map>) {
        if let Some(entry) = self.space.lock().value_mut(map.index()) {
            *entry = Some(map);
        }
    }

    /// The map whose offsets `offset`, in pages, is among.
    pub(crate) fn find(&self, offset: u64) -> Option<Arc<Map>> {
        self.space.lock().find(offset)?.value.clone()
    }

    /// The map that begins at `offset`, in pages, and has `count` grants.
    pub(crate) fn find_exact(&self, offset: u64, count: usize) -> Option<Arc<Map>> {
        self.find(offset)
            .filter(|map| map.index() == offset && map.count() == count)
    }

    /// Takes out the map that begins at `offset`, in pages, and has `count` grants, or any number
    /// if `count` is 0.
    ///
    /// The offsets are free again when nothing uses the map any more.
    pub(crate) fn remove(&self, offset: u64, count: usize) -> Option<Arc<Map>> {
        let mut space = self.space.lock();
        let entry = space.value_mut(offset)?;
        let map = entry.as_ref()?;
        if count != 0 && map.count() != count {
            return None;
        }
        entry.take()
    }

    /// Takes out all maps. May sleep, and lets others run.
    pub(crate) fn clear(&self) {
        let mut next = 0;
        for number in 1usize.. {
            if number % MAPS_AT_ONCE == 0 {
                task::yield_now();
            }
            let mut space = self.space.lock();
            let Some(found) = space.next_from(next) else {
                return;
            };
            let start = found.start;
            next = start + 1;
            let map = space.value_mut(start).and_then(Option::take);
            // A map that goes takes the lock to free its offsets.
            drop(space);
            drop(map);
        }
    }

    /// Calls `each` for all maps that can be found, with the lock held. Gives the lock up, and lets
    /// others run, from time to time: maps may come and go meanwhile.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&Map)) {
        let mut next = 0;
        loop {
            let space = self.space.lock();
            let (mut maps, mut grants) = (0, 0);
            while maps < MAPS_AT_ONCE && grants < GRANTS_AT_ONCE {
                let Some(found) = space.next_from(next) else {
                    return;
                };
                next = found.start + found.len;
                maps += 1;
                grants += found.len;
                if let Some(map) = found.value {
                    each(map);
                }
            }
            drop(space);
            task::yield_now();
        }
    }

    /// The grants of all maps.
    pub(crate) fn grants(&self) -> usize {
        self.grants.get()
    }
}

impl Place {
    /// Takes `count` offsets of `file`, of `limit` that all its maps may have together.
    ///
    /// # Errors
    ///
    /// `ENOSPC` when there are too many, `ENOMEM`.
    pub(crate) fn take(
        file: ArcBorrow<'_, GntdevFile>,
        count: usize,
        limit: usize,
    ) -> Result<Self> {
        let table = file.table();
        if !table.grants.add_within(count, limit) {
            return Err(ENOSPC);
        }
        match table.space.lock().insert(count as u64, None) {
            Ok(start) => {
                STATS.maps.add(1);
                STATS.grants.add(count);
                Ok(Self {
                    file: file.into(),
                    start,
                    count,
                })
            }
            Err((reason, _)) => {
                table.grants.sub(count);
                Err(match reason {
                    InsertError::NoRoom => ENOSPC,
                    InsertError::NoMemory => ENOMEM,
                })
            }
        }
    }

    /// The first offset, in pages.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// How many offsets there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Whether this is a place of `file`.
    pub(crate) fn is_of(&self, file: &GntdevFile) -> bool {
        core::ptr::eq(&*self.file, file)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The entry is empty: a map that can be found holds its place.
        let table = self.file.table();
        let entry = table.space.lock().remove(self.start);
        drop(entry);
        table.grants.sub(self.count);
        STATS.grants.sub(self.count);
        STATS.maps.sub(1);
    }
}
