// SPDX-License-Identifier: GPL-2.0

//! What is pending on a file: at most one entry for each of its ports, in order of arrival.
//!
//! Every port of a file has a [`Node`], found by its index. Interrupt handlers, on any CPU, post
//! nodes to the file's [`Inbox`] without a lock. Those who take them out hold the lock of the
//! file's table, in which [`Fifo`] is, and first [collect](Fifo::collect) what is in the inbox.
//!
//! # Why it is right
//!
//! *At most one entry.* A handler posts a node only if its exchange turned `queued` from false to
//! true. Whoever takes the node out turns it back, after the node has left both lists. So a node
//! is in one list at most, and in it once; there are never more entries than nodes, and there is
//! no capacity that could be exceeded.
//!
//! *Who writes the links.* `next` is written by the one that turned `queued`, until its exchange
//! on the inbox's head publishes the node; from then on by the holder of the lock alone, for whom
//! `collect` takes the whole inbox at once. As nothing but an empty inbox is ever written over a
//! node in it, there is no ABA: a head that a handler read and finds again is the same list.
//!
//! *Nothing is overlooked.* The exchange that publishes a node is a release, the one that takes
//! the inbox an acquire; all exchanges on the head form one release sequence, so that the taker
//! sees the links of every node in the list. A handler that finds `queued` true has nothing to
//! post: the entry is still to be taken, and as both sides use read-modify-writes with acquire and
//! release on `queued`, who takes it sees all that came before the handler ran.
//!
//! *Somebody is woken.* [`Inbox::post`] tells whether the inbox was empty, and then the handler
//! wakes. Whoever sleeps found both lists empty after announcing itself, under the lock; so the
//! next node that is posted finds the inbox empty. Who takes some entries and leaves others passes
//! the wake-up on.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is, and loom tries the
//! orders in which several CPUs may do this.

use super::atomics::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};

/// No node.
const NONE: u32 = u32::MAX;

/// A port's place in the lists of its file.
///
/// # Invariants
///
/// `queued` is true from before the node is posted until after it has left both lists.
pub struct Node {
    queued: AtomicBool,
    next: AtomicU32,
    prev: AtomicU32,
}

impl Node {
    /// A node that is in no list.
    pub fn new() -> Self {
        Self {
            queued: AtomicBool::new(false),
            next: AtomicU32::new(NONE),
            prev: AtomicU32::new(NONE),
        }
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
    head: AtomicU32,
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Self {
            head: AtomicU32::new(NONE),
        }
    }

    /// Whether there is nothing in the inbox now.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::Acquire) == NONE
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
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            node.next.store(head, Ordering::Relaxed);
            match self
                .head
                .compare_exchange_weak(head, index, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) if head == NONE => return Posted::First,
                Ok(_) => return Posted::Behind,
                Err(now) => head = now,
            }
        }
    }

    #[inline]
    fn take(&self) -> u32 {
        if self.head.load(Ordering::Relaxed) == NONE {
            return NONE;
        }
        self.head.swap(NONE, Ordering::Acquire)
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

    /// Moves everything that is in the inbox to the end of the list, oldest first.
    #[inline]
    pub fn collect(&mut self, inbox: &Inbox, nodes: &impl Nodes) {
        let newest = inbox.take();
        if newest != NONE {
            self.append(newest, nodes);
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

    /// The indices of the entries, oldest first, which stay in the list.
    #[inline]
    pub fn iter<'a, N: Nodes>(&self, nodes: &'a N) -> Iter<'a, N> {
        Iter {
            at: self.head,
            nodes,
        }
    }

    /// Takes the oldest entry out.
    #[inline]
    pub fn pop(&mut self, nodes: &impl Nodes) -> Option<u32> {
        let index = self.head;
        let node = nodes.node(index)?;
        self.unlink(node, nodes);
        Some(index)
    }

    /// Takes the entry of index `index` out, if it is in the list.
    ///
    /// The caller has collected the inbox, and the node is not being posted any more.
    pub fn remove(&mut self, index: u32, nodes: &impl Nodes) -> bool {
        match nodes.node(index) {
            Some(node) if node.is_queued() => {
                self.unlink(node, nodes);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn unlink(&mut self, node: &Node, nodes: &impl Nodes) {
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
        // INVARIANT: The node is in no list any more. Release gives the links to the next one that
        // posts it; acquire lets the caller see what came before a post that found it queued.
        node.queued.swap(false, Ordering::AcqRel);
    }
}

/// See [`Fifo::iter`].
pub struct Iter<'a, N> {
    at: u32,
    nodes: &'a N,
}

impl<N: Nodes> Iterator for Iter<'_, N> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        let index = self.at;
        let node = self.nodes.node(index)?;
        self.at = node.next.load(Ordering::Relaxed);
        Some(index)
    }
}
