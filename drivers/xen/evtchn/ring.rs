// SPDX-License-Identifier: GPL-2.0

//! What is pending on a file: at most one entry for each of its ports, in order of arrival.
//!
//! Every port of a file has a [`Node`], found by its index. Interrupt handlers, on any CPU, post
//! nodes to the file's [`Inbox`] without a lock. Those who [take](Fifo::take) them out hold the lock
//! of the file's table, in which [`Fifo`] is. Nearly always they take the whole inbox as it is;
//! only what they have no room for is [collected](Fifo::collect) in the list, to come first the
//! next time.
//!
//! # Why it is right
//!
//! *At most one entry.* A handler posts a node only if its exchange turned `queued` from false to
//! true. Whoever takes the node out turns it back, after the node has left both lists. So a node
//! is in one list at most, and in it once; there are never more entries than nodes, and there is
//! no capacity that could be exceeded.
//!
//! *Who writes the links.* `next` is written by the one that turned `queued`, until its exchange
//! on the inbox's head publishes the node; from then on by the holder of the lock alone, who
//! takes the whole inbox at once. As nothing but an empty inbox is ever written over a node in it,
//! there is no ABA: a head that a handler read and finds again is the same list. The head counts
//! the nodes, so that whoever takes them, newest first, knows where each belongs.
//!
//! *Nothing is overlooked.* The exchange that publishes a node is a release, the one that takes
//! the inbox an acquire; all exchanges on the head form one release sequence, so that the taker
//! sees the links of every node in the list. A handler that finds `queued` true has nothing to
//! post: the entry is still to be taken, and as both sides use read-modify-writes with acquire and
//! release on `queued`, who takes it sees all that came before the handler ran.
//!
//! *Somebody is woken.* [`Inbox::post`] tells whether the inbox was empty, and then the handler
//! wakes. Whoever is about to sleep asks [`Inbox::is_pending`] after announcing itself, without the
//! lock: is the inbox empty, and is nothing left in the list? What is moved to the list is said to
//! be there before it leaves the inbox, so that it is not overlooked in between; whoever has found
//! nothing has found the inbox empty, and the next node that is posted wakes. Who takes some
//! entries and leaves others passes the wake-up on. Who [puts back](Fifo::put_back) what it had
//! taken wakes as if it were new.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries the
//! orders in which several CPUs may do this.

use super::atomics::{
    AtomicBool,
    AtomicU32,
    AtomicU64,
    Ordering, //
};

/// No node.
const NONE: u32 = u32::MAX;

/// An inbox's head: how many nodes there are, and the index of the newest.
#[derive(Copy, Clone)]
struct Head(u64);

impl Head {
    const EMPTY: Self = Self(NONE as u64);

    #[inline]
    const fn newest(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    const fn count(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    const fn is_empty(self) -> bool {
        self.newest() == NONE
    }

    /// With one node more. There are fewer than can be counted, as each is there once.
    #[inline]
    const fn with(self, index: u32) -> Self {
        Self(((self.0 >> 32).wrapping_add(1) << 32) | index as u64)
    }
}

/// A port's place in the lists of its file.
///
/// # Invariants
///
/// `queued` is true from before the node is posted until after it has left both lists.
pub struct Node {
    /// What whoever takes it is told.
    name: u32,
    queued: AtomicBool,
    next: AtomicU32,
    prev: AtomicU32,
}

impl Node {
    /// A node that is in no list.
    pub fn new(name: u32) -> Self {
        Self {
            name,
            queued: AtomicBool::new(false),
            next: AtomicU32::new(NONE),
            prev: AtomicU32::new(NONE),
        }
    }

    /// Says that the node is in no list any more.
    ///
    /// Release gives the links to the next one that posts it; acquire lets the caller see what came
    /// before a post that found it queued.
    #[inline]
    fn release(&self) {
        self.queued.swap(false, Ordering::AcqRel);
    }

    /// Whether the node is in one of the lists, or about to be.
    #[inline]
    pub fn is_queued(&self) -> bool {
        self.queued.load(Ordering::Relaxed)
    }
}

/// How indices become nodes.
pub trait Nodes {
    /// The node of index `index`, if there is one.
    fn node(&self, index: u32) -> Option<&Node>;
}

/// What came of posting a node.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Posted {
    /// It is the first in the inbox: wake whoever waits.
    First,
    /// There are others before it, and whoever posted the first of them wakes.
    Behind,
    /// It had been posted before, and was not taken out since.
    Already,
}

/// Where interrupt handlers leave nodes, newest first.
pub struct Inbox {
    head: AtomicU64,
    /// Whether there are entries in the [`Fifo`], too. Written by the holder of the lock.
    collected: AtomicBool,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Self {
            head: AtomicU64::new(Head::EMPTY.0),
            collected: AtomicBool::new(false),
        }
    }

    /// Whether something is pending, here or in the [`Fifo`].
    ///
    /// Without the lock this may be true of what somebody is just taking out.
    #[inline]
    pub fn is_pending(&self) -> bool {
        // In this order: see the module's comment.
        !self.is_empty() || self.collected.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        Head(self.head.load(Ordering::Acquire)).is_empty()
    }

    /// Adds the node of index `index`, unless it is in a list already.
    ///
    /// Works in any context, on several CPUs at once. `node` must be what the file's [`Nodes`]
    /// have at `index`, until the node is taken out.
    #[inline]
    pub fn post(&self, index: u32, node: &Node) -> Posted {
        if node.queued.swap(true, Ordering::AcqRel) {
            return Posted::Already;
        }
        let mut head = Head(self.head.load(Ordering::Relaxed));
        loop {
            node.next.store(head.newest(), Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head.0,
                head.with(index).0,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) if head.is_empty() => return Posted::First,
                Ok(_) => return Posted::Behind,
                Err(now) => head = Head(now),
            }
        }
    }

    /// Takes everything out, unless there are more than `most`.
    #[inline]
    fn take(&self, most: usize) -> Option<Head> {
        let mut head = Head(self.head.load(Ordering::Relaxed));
        while !head.is_empty() {
            if head.count() as usize > most {
                return None;
            }
            // A release too, for what was said to be collected before.
            match self.head.compare_exchange_weak(
                head.0,
                Head::EMPTY.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = Head(now),
            }
        }
        Some(head)
    }
}

/// What was collected from the inbox and not yet taken out, oldest first.
///
/// Belongs under the lock of the file's table. All methods must be called with the same nodes.
///
/// # Invariants
///
/// The nodes from `head` to `tail`, linked by `next` and backwards by `prev`, are queued and in no
/// other list; there are `len` of them.
pub struct Fifo {
    head: u32,
    tail: u32,
    len: u32,
}

impl Fifo {
    /// An empty list.
    pub const fn new() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Takes the entry out if it is the only one. Returns what it is called and its index.
    #[inline]
    pub fn take_single(&mut self, inbox: &Inbox, nodes: &impl Nodes) -> Option<(u32, u32)> {
        if !self.is_empty() {
            return None;
        }
        let index = inbox.take(1)?.newest();
        let node = nodes.node(index)?;
        node.release();
        Some((node.name, index))
    }

    /// Takes entries out, oldest first, as many as there are places in `names` and in `indices`.
    ///
    /// Writes what they are called to `names` and their indices to `indices`. Returns how many.
    #[inline]
    pub fn take(
        &mut self,
        inbox: &Inbox,
        nodes: &impl Nodes,
        names: &mut [u32],
        indices: &mut [u32],
    ) -> usize {
        let most = names.len().min(indices.len());
        let all = if self.is_empty() {
            inbox.take(most)
        } else {
            None
        };
        if let Some(head) = all {
            let count = head.count() as usize;
            let (Some(names), Some(indices)) = (names.get_mut(..count), indices.get_mut(..count))
            else {
                return 0;
            };
            let mut at = head.newest();
            let places = Iterator::zip(names.iter_mut().rev(), indices.iter_mut().rev());
            for (name, index) in places {
                // Each is there, as its port cannot go without the lock.
                let Some(node) = nodes.node(at) else { break };
                *name = node.name;
                *index = at;
                // Before the link is whoever's that posts the node next.
                at = node.next.load(Ordering::Relaxed);
                node.release();
            }
            return count;
        }
        self.take_collected(inbox, nodes, names, indices)
    }

    /// The same where not all that is pending is in the inbox, or can be taken at once.
    #[cold]
    fn take_collected(
        &mut self,
        inbox: &Inbox,
        nodes: &impl Nodes,
        names: &mut [u32],
        indices: &mut [u32],
    ) -> usize {
        self.collect(inbox, nodes);
        let mut count = 0;
        for (name, to) in Iterator::zip(names.iter_mut(), indices.iter_mut()) {
            let Some(index) = self.pop(inbox, nodes) else {
                break;
            };
            *name = nodes.node(index).map_or(NONE, |node| node.name);
            *to = index;
            count += 1;
        }
        count
    }

    /// Puts what was taken out back to where it was, at the front.
    ///
    /// The lock was held all the time. The caller wakes whoever waits, as it may have looked
    /// meanwhile.
    #[cold]
    pub fn put_back(&mut self, inbox: &Inbox, nodes: &impl Nodes, indices: &[u32]) {
        for &index in indices.iter().rev() {
            let Some(node) = nodes.node(index) else {
                continue;
            };
            // If it was posted again, it is in the inbox, and comes from there. Orders nothing: who
            // posts it after this, and who takes it then, do.
            if !node.queued.swap(true, Ordering::Relaxed) {
                self.push_front(index, node, nodes);
            }
        }
        inbox.collected.store(!self.is_empty(), Ordering::Relaxed);
    }

    /// Moves everything that is in the inbox to the end of the list, oldest first.
    #[inline]
    pub fn collect(&mut self, inbox: &Inbox, nodes: &impl Nodes) {
        if inbox.is_empty() {
            return;
        }
        // Before it leaves the inbox.
        inbox.collected.store(true, Ordering::Relaxed);
        if let Some(head) = inbox.take(usize::MAX) {
            self.append(head.newest(), nodes);
        }
    }

    /// Appends the list that begins with `newest`, which is linked backwards.
    fn append(&mut self, newest: u32, nodes: &impl Nodes) {
        let mut at = newest;
        let mut after = NONE;
        let mut count = 0u32;

        // Turn the links round. The list is as long as there are nodes, at most.
        while let Some(node) = nodes.node(at) {
            let before = node.next.load(Ordering::Relaxed);
            node.next.store(after, Ordering::Relaxed);
            node.prev.store(before, Ordering::Relaxed);
            after = at;
            at = before;
            count = count.wrapping_add(1);
        }

        // `after` is the oldest now, and goes behind the tail.
        let oldest = after;
        if let Some(node) = nodes.node(oldest) {
            node.prev.store(self.tail, Ordering::Relaxed);
            match nodes.node(self.tail) {
                Some(tail) => tail.next.store(oldest, Ordering::Relaxed),
                None => self.head = oldest,
            }
            self.tail = newest;
            self.len = self.len.wrapping_add(count);
        }
    }

    /// Takes the oldest of the collected entries out.
    #[inline]
    pub fn pop(&mut self, inbox: &Inbox, nodes: &impl Nodes) -> Option<u32> {
        let index = self.head;
        let node = nodes.node(index)?;
        self.unlink(node, inbox, nodes);
        Some(index)
    }

    /// Takes the entry of index `index` out, if there is one.
    ///
    /// The node is not being posted any more.
    pub fn remove(&mut self, index: u32, inbox: &Inbox, nodes: &impl Nodes) -> bool {
        match nodes.node(index) {
            Some(node) if node.is_queued() => {
                self.collect(inbox, nodes);
                self.unlink(node, inbox, nodes);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn unlink(&mut self, node: &Node, inbox: &Inbox, nodes: &impl Nodes) {
        let next = node.next.load(Ordering::Relaxed);
        let prev = node.prev.load(Ordering::Relaxed);

        match nodes.node(prev) {
            Some(prev) => prev.next.store(next, Ordering::Relaxed),
            None => self.head = next,
        }
        match nodes.node(next) {
            Some(next) => next.prev.store(prev, Ordering::Relaxed),
            None => self.tail = prev,
        }
        self.len = self.len.wrapping_sub(1);
        inbox.collected.store(!self.is_empty(), Ordering::Relaxed);
        node.release();
    }

    fn push_front(&mut self, index: u32, node: &Node, nodes: &impl Nodes) {
        node.prev.store(NONE, Ordering::Relaxed);
        node.next.store(self.head, Ordering::Relaxed);
        match nodes.node(self.head) {
            Some(head) => head.prev.store(index, Ordering::Relaxed),
            None => self.tail = index,
        }
        self.head = index;
        self.len = self.len.wrapping_add(1);
    }
}
