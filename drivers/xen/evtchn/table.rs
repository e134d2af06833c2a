// SPDX-License-Identifier: GPL-2.0

//! The ports of one file, by an index that a port keeps as long as it is bound.

use super::{
    file::EventFile,
    ring::{
        Fifo,
        Inbox,
        Node,
        Nodes, //
    }, //
};
use core::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use kernel::{
    alloc::flags::__GFP_NOWARN,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc, //
};
use xen::event::{
    BoundPort,
    Handler,
    Line,
    Port, //
};

/// What a port's interrupt needs.
pub(crate) struct PortData {
    file: Arc<EventFile>,
    index: u32,
    node: Node,
    /// Events delivered so far. Written by the interrupt alone, but for one that was early.
    events: AtomicU64,
}

impl PortData {
    /// For `port` at `index` of the table of `file`.
    pub(crate) fn new(file: Arc<EventFile>, index: u32, port: Port) -> Self {
        Self {
            file,
            index,
            node: Node::new(port.raw()),
            events: AtomicU64::new(0),
        }
    }

    /// How many events were delivered so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// What is known of a port without asking Xen.
pub(crate) struct Snapshot {
    pub(crate) port: Port,
    /// Whether it is in the list.
    pub(crate) pending: bool,
    /// Whether it is masked until it is written.
    pub(crate) masked: bool,
    /// Whether the channel is gone.
    pub(crate) lost: bool,
    pub(crate) events: u64,
}

impl Snapshot {
    fn of(line: &Line<PortData>, lost: bool) -> Self {
        let data = line.data();
        Self {
            port: line.port(),
            pending: data.node.is_queued(),
            masked: line.is_masked() && !lost,
            lost,
            events: data.events(),
        }
    }
}

impl Handler for PortData {
    fn event(line: &Line<Self>) {
        let this = line.data();
        // Nobody else adds to it now.
        let events = this.events.load(Ordering::Relaxed);
        this.events.store(events.wrapping_add(1), Ordering::Relaxed);
        this.file.post(this.index, &this.node);
    }
}

/// One place of the table.
enum Entry {
    /// Free. Names the next free place.
    Vacant(Option<u32>),
    /// Taken by a port that is being bound. No events yet.
    Reserved,
    /// A bound port.
    Bound(BoundPort<PortData>),
    /// A port that is being unbound: events may still come.
    Leaving(Arc<Line<PortData>>),
    /// A port that was bound until its channel went away behind our back. No events come, but the
    /// last one may still be pending.
    Lost(Arc<Line<PortData>>),
}

/// The entries, as the lists of pending ports see them.
struct Entries(KVVec<Entry>);

impl Entries {
    #[inline]
    fn get(&self, index: u32) -> Option<&Entry> {
        self.0.get(index as usize)
    }

    #[inline]
    fn line(&self, index: u32) -> Option<&Line<PortData>> {
        match self.get(index)? {
            Entry::Bound(port) => Some(port.line()),
            Entry::Leaving(line) | Entry::Lost(line) => Some(line),
            Entry::Vacant(_) | Entry::Reserved => None,
        }
    }
}

impl Nodes for Entries {
    #[inline]
    fn node(&self, index: u32) -> Option<&Node> {
        Some(&self.line(index)?.data().node)
    }
}

/// The ports of a file, and which of them are pending.
pub(crate) struct Table {
    /// None before the first port.
    room: Option<Room>,
    vacant: Option<u32>,
    lost: u32,
    fifo: Fifo,
}

impl Table {
    /// How many entries a table begins with.
    const FIRST: usize = 16;
    /// How many ports are taken out at once, at most: as many as a read may give.
    const TAKEN: usize = PAGE_SIZE / size_of::<u32>();

    pub(crate) const fn new() -> Self {
        Self {
            room: None,
            vacant: None,
            lost: 0,
            fifo: Fifo::new(),
        }
    }

    /// How many entries the table must get [room](Room) for before it can take one more port.
    pub(crate) fn needs(&self) -> Option<usize> {
        let (len, capacity) = match &self.room {
            Some(room) => (room.entries.0.len(), room.entries.0.capacity()),
            None => (0, 0),
        };
        if self.vacant.is_some() || len < capacity {
            None
        } else {
            Some(len.saturating_mul(2).max(Self::FIRST))
        }
    }

    /// Moves the entries into `room`, and gives back the room they had.
    pub(crate) fn move_to(&mut self, mut room: Room) -> Option<Room> {
        if let Some(former) = &mut self.room {
            if room.entries.0.capacity() < former.entries.0.len() {
                return Some(room);
            }
            for entry in former.entries.0.drain_all() {
                // There is room, as just seen.
                let _ = room.entries.0.push_within_capacity(entry);
            }
        }
        self.room.replace(room)
    }

    /// Takes a place for a port that is about to be bound.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when there is no [room](Table::needs).
    pub(crate) fn reserve(&mut self) -> Result<u32> {
        let entries = &mut self.room.as_mut().ok_or(ENOMEM)?.entries.0;
        match self.vacant {
            Some(index) => {
                let entry = entries.get_mut(index as usize).ok_or(ENOMEM)?;
                if let Entry::Vacant(next) = *entry {
                    self.vacant = next;
                }
                *entry = Entry::Reserved;
                Ok(index)
            }
            None => {
                let index = u32::try_from(entries.len()).map_err(|_| ENOMEM)?;
                match entries.push_within_capacity(Entry::Reserved) {
                    Ok(()) => Ok(index),
                    Err(_) => Err(ENOMEM),
                }
            }
        }
    }

    /// Puts `port` into the place reserved for it, and lets its events come.
    pub(crate) fn insert(&mut self, index: u32, port: BoundPort<PortData>) {
        if let Some(entry) = self.entry(index) {
            *entry = Entry::Bound(port);
        }
        if let Some(port) = self.bound(index) {
            port.enable();
        }
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry> {
        self.room.as_mut()?.entries.0.get_mut(index as usize)
    }

    /// The port at `index`, if one is bound there.
    #[inline]
    pub(crate) fn bound(&self, index: u32) -> Option<&BoundPort<PortData>> {
        match self.room.as_ref()?.entries.get(index)? {
            Entry::Bound(port) => Some(port),
            _ => None,
        }
    }

    /// Takes a bound port out for unbinding. Its entry remains until it is [vacated](Table::vacate).
    pub(crate) fn leave(&mut self, index: u32) -> Option<BoundPort<PortData>> {
        self.replace(index, Entry::Leaving)
    }

    /// Takes a bound port out whose channel is gone. The file still has it, as a name of nothing.
    pub(crate) fn lose(&mut self, index: u32) -> Option<BoundPort<PortData>> {
        let port = self.replace(index, Entry::Lost)?;
        self.lost = self.lost.saturating_add(1);
        Some(port)
    }

    fn replace(
        &mut self,
        index: u32,
        with: impl FnOnce(Arc<Line<PortData>>) -> Entry,
    ) -> Option<BoundPort<PortData>> {
        let entry = self.entry(index)?;
        let Entry::Bound(port) = entry else {
            return None;
        };
        let after = with(port.line().clone());
        match core::mem::replace(entry, after) {
            Entry::Bound(port) => Some(port),
            _ => None,
        }
    }

    /// Frees a place, and takes what is pending there out of the list.
    ///
    /// No events come for it any more. The returned line is to be dropped without the lock.
    pub(crate) fn vacate(&mut self, index: u32, inbox: &Inbox) -> Option<Arc<Line<PortData>>> {
        let entries = &mut self.room.as_mut()?.entries;
        self.fifo.remove(index, inbox, entries);
        let entry = entries.0.get_mut(index as usize)?;
        if let Entry::Vacant(_) = entry {
            return None;
        }
        let before = core::mem::replace(entry, Entry::Vacant(self.vacant));
        self.vacant = Some(index);
        match before {
            Entry::Lost(line) => {
                self.lost = self.lost.saturating_sub(1);
                Some(line)
            }
            Entry::Leaving(line) => Some(line),
            _ => None,
        }
    }

    /// The place of a lost port of number `port`.
    pub(crate) fn find_lost(&self, port: Port) -> Option<u32> {
        if self.lost == 0 {
            return None;
        }
        let at = self
            .room
            .as_ref()?
            .entries
            .0
            .iter()
            .position(|entry| matches!(entry, Entry::Lost(line) if line.port() == port))?;
        u32::try_from(at).ok()
    }

    /// What is at `index`, if a port is.
    pub(crate) fn snapshot(&self, index: u32) -> Option<Snapshot> {
        match self.room.as_ref()?.entries.get(index)? {
            Entry::Bound(port) => Some(Snapshot::of(port.line(), false)),
            Entry::Lost(line) => Some(Snapshot::of(line, true)),
            _ => None,
        }
    }

    /// How many places there are, free or not.
    pub(crate) fn places(&self) -> u32 {
        self.room
            .as_ref()
            .map_or(0, |room| room.entries.0.len() as u32)
    }

    /// Takes notice of what interrupts have posted.
    #[inline]
    pub(crate) fn collect(&mut self, inbox: &Inbox) {
        if let Some(room) = &self.room {
            self.fifo.collect(inbox, &room.entries);
        }
    }

    /// How many ports are pending of those that were collected.
    pub(crate) fn pending(&self) -> u32 {
        self.fifo.len()
    }

    /// Takes a port out if it is the only one that is pending. Returns its number and its place.
    ///
    /// Who cannot pass it on [puts it back](Table::put_back) before giving up the lock.
    #[inline]
    pub(crate) fn take_single(&mut self, inbox: &Inbox) -> Option<(u32, u32)> {
        self.fifo.take_single(inbox, &self.room.as_ref()?.entries)
    }

    /// Takes ports out that are pending, those that are for longest, up to `want`.
    ///
    /// Who cannot pass them on [puts them back](Table::put_back_taken) before giving up the lock.
    #[inline]
    pub(crate) fn take(&mut self, inbox: &Inbox, want: usize) -> &[u32] {
        let Some(room) = &mut self.room else {
            return &[];
        };
        let want = want.min(room.ports.len());
        let (Some(ports), Some(places)) = (room.ports.get_mut(..want), room.places.get_mut(..want))
        else {
            return &[];
        };
        let count = self.fifo.take(inbox, &room.entries, ports, places);
        room.ports.get(..count).unwrap_or(&[])
    }

    /// Puts ports back that were taken out, by their places.
    #[cold]
    pub(crate) fn put_back(&mut self, inbox: &Inbox, places: &[u32]) {
        if let Some(room) = &self.room {
            self.fifo.put_back(inbox, &room.entries, places);
        }
    }

    /// Puts the `count` ports back that [`Table::take`] has taken out.
    #[cold]
    pub(crate) fn put_back_taken(&mut self, inbox: &Inbox, count: usize) {
        if let Some(room) = &self.room {
            let places = room.places.get(..count).unwrap_or(&[]);
            self.fifo.put_back(inbox, &room.entries, places);
        }
    }

    /// Takes the collected port that is pending for longest from the list. Returns its place.
    #[inline]
    pub(crate) fn pop(&mut self, inbox: &Inbox) -> Option<u32> {
        self.fifo.pop(inbox, &self.room.as_ref()?.entries)
    }
}

/// Room for the entries of a table, and for what is taken out of it at once.
pub(crate) struct Room {
    entries: Entries,
    /// The ports that were taken out last.
    ports: KVVec<u32>,
    /// Their places.
    places: KVVec<u32>,
}

impl Room {
    /// Room for `entries` entries. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(entries: usize) -> Result<Self> {
        let flags = GFP_KERNEL | __GFP_NOWARN;
        let taken = entries.min(Table::TAKEN);
        Ok(Self {
            entries: Entries(KVVec::with_capacity(entries, flags)?),
            ports: KVVec::from_elem(0, taken, flags)?,
            places: KVVec::from_elem(0, taken, flags)?,
        })
    }
}
