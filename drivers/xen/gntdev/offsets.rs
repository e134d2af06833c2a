// SPDX-License-Identifier: GPL-2.0

//! The offsets of a file: which are taken, by what, and where there is room.
//!
//! Offsets are counted in pages. A range gets the lowest place where it fits, so that the first is
//! at 0, and what is freed is used again. Finding a range by any offset in it, a place for another,
//! and taking one out each cost the logarithm of how many there are.
//!
//! An AVL tree, ordered by offset, in which each node knows the largest gap below it. Nodes name
//! each other by their index in an [`Arena`]. The depth of recursion is that of the tree: with
//! 2^32 nodes it is 46.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// Where the nodes are kept: an array that can grow.
pub trait Arena<N> {
    /// Element `index`.
    fn get(&self, index: u32) -> Option<&N>;
    /// Element `index`, to be changed.
    fn get_mut(&mut self, index: u32) -> Option<&mut N>;
    /// Adds an element at the end and returns its index, or gives it back when there is no memory.
    fn push(&mut self, node: N) -> Result<u32, N>;
}

/// One past the last offset: in bytes of 4 KiB pages, the largest that is no negative `loff_t`.
pub const END: u64 = 1 << 51;

/// Why a range was not taken in.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// It is empty, or there is no gap that is large enough.
    NoRoom,
    /// There is no memory for another node.
    NoMemory,
}

/// "No node".
const NIL: u32 = u32::MAX;

/// A range in the tree. Public for the sake of [`Arena`].
pub struct Node<T> {
    start: u64,
    end: u64,
    /// The lowest offset taken in this subtree.
    low: u64,
    /// One past the highest.
    high: u64,
    /// The largest gap between two neighbouring ranges of this subtree.
    gap: u64,
    left: u32,
    /// Of a node that is in no tree: the next such node.
    right: u32,
    height: u32,
    value: Option<T>,
}

/// What a node notes of its subtree; of the heights, those of its two sides.
struct Summary {
    low: u64,
    high: u64,
    gap: u64,
    left: u32,
    right: u32,
}

/// Ranges of offsets, each with a value.
///
/// # Invariants
///
/// The nodes below `root` form a tree without cycles, ordered by `start`, whose ranges are disjoint,
/// not empty, and end at [`END`] at the latest; each has a value. The heights of a node's subtrees
/// differ by one at most. All other nodes are in the list at `free`, without a value.
pub struct OffsetSpace<T, A> {
    nodes: A,
    root: u32,
    free: u32,
    len: usize,
    _value: core::marker::PhantomData<T>,
}

/// A range that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found<V> {
    /// Its first offset.
    pub start: u64,
    /// How many offsets it has.
    pub len: u64,
    /// What was put there.
    pub value: V,
}

impl<T, A: Arena<Node<T>>> OffsetSpace<T, A> {
    /// An empty space, with the nodes in an empty arena.
    pub const fn new(nodes: A) -> Self {
        Self {
            nodes,
            root: NIL,
            free: NIL,
            len: 0,
            _value: core::marker::PhantomData,
        }
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes `len` offsets, the lowest there are in one piece, and returns the first of them.
    ///
    /// # Errors
    ///
    /// Gives the value back, and says why.
    pub fn insert(&mut self, len: u64, value: T) -> Result<u64, (InsertError, T)> {
        let Some((start, end)) = self.place(len) else {
            return Err((InsertError::NoRoom, value));
        };
        let node = Node {
            start,
            end,
            low: start,
            high: end,
            gap: 0,
            left: NIL,
            right: NIL,
            height: 1,
            value: Some(value),
        };
        let index = match self.nodes.get_mut(self.free) {
            Some(slot) => {
                let index = core::mem::replace(&mut self.free, slot.right);
                *slot = node;
                index
            }
            None => match self.nodes.push(node) {
                Ok(index) => index,
                Err(Node {
                    value: Some(value), ..
                }) => return Err((InsertError::NoMemory, value)),
                // The value was put there above.
                Err(_) => return Ok(start),
            },
        };
        self.root = self.insert_below(self.root, index, start);
        self.len += 1;
        Ok(start)
    }

    /// The range that `offset` lies in.
    pub fn find(&self, offset: u64) -> Option<Found<&T>> {
        let mut at = self.root;
        loop {
            let node = self.nodes.get(at)?;
            if offset < node.start {
                at = node.left;
            } else if offset >= node.end {
                at = node.right;
            } else {
                return Some(Found {
                    start: node.start,
                    len: node.end - node.start,
                    value: node.value.as_ref()?,
                });
            }
        }
    }

    /// The value of the range that starts at `start`, to be changed.
    pub fn value_mut(&mut self, start: u64) -> Option<&mut T> {
        let mut at = self.root;
        loop {
            let node = self.nodes.get(at)?;
            at = match start.cmp(&node.start) {
                core::cmp::Ordering::Less => node.left,
                core::cmp::Ordering::Greater => node.right,
                core::cmp::Ordering::Equal => break,
            };
        }
        self.nodes.get_mut(at)?.value.as_mut()
    }

    /// The first range that starts at `offset` or after it.
    pub fn next_from(&self, offset: u64) -> Option<Found<&T>> {
        let mut at = self.root;
        let mut best = None;
        while let Some(node) = self.nodes.get(at) {
            if node.start >= offset {
                best = Some(node);
                at = node.left;
            } else {
                at = node.right;
            }
        }
        let node = best?;
        Some(Found {
            start: node.start,
            len: node.end - node.start,
            value: node.value.as_ref()?,
        })
    }

    /// Takes out the range that starts at `start`.
    pub fn remove(&mut self, start: u64) -> Option<T> {
        let (root, removed) = self.remove_below(self.root, start);
        self.root = root;
        let free = self.free;
        let node = self.nodes.get_mut(removed)?;
        node.right = free;
        let value = node.value.take();
        self.free = removed;
        self.len = self.len.saturating_sub(1);
        value
    }

    /// The lowest gap of `len` offsets.
    fn place(&self, len: u64) -> Option<(u64, u64)> {
        if len == 0 {
            return None;
        }
        let start = match self.nodes.get(self.root) {
            None => 0,
            Some(root) if root.low >= len => 0,
            Some(root) if root.gap >= len => self.gap_below(self.root, len)?,
            Some(root) => root.high,
        };
        let end = start.checked_add(len).filter(|&end| end <= END)?;
        Some((start, end))
    }

    /// Where the lowest gap of at least `len` in a subtree begins, which has one.
    fn gap_below(&self, mut at: u32, len: u64) -> Option<u64> {
        loop {
            let node = self.nodes.get(at)?;
            if let Some(left) = self.nodes.get(node.left) {
                if left.gap >= len {
                    at = node.left;
                    continue;
                }
                if node.start - left.high >= len {
                    return Some(left.high);
                }
            }
            let right = self.nodes.get(node.right)?;
            if right.low - node.end >= len {
                return Some(node.end);
            }
            at = node.right;
        }
    }

    fn height(&self, at: u32) -> u32 {
        self.nodes.get(at).map_or(0, |node| node.height)
    }

    /// What a node should have noted of its subtree, by its children.
    #[inline]
    fn summary(&self, at: u32) -> Option<Summary> {
        let node = self.nodes.get(at)?;
        let mut summary = Summary {
            low: node.start,
            high: node.end,
            gap: 0,
            left: 0,
            right: 0,
        };
        if let Some(left) = self.nodes.get(node.left) {
            summary.low = left.low;
            summary.gap = left.gap.max(node.start - left.high);
            summary.left = left.height;
        }
        if let Some(right) = self.nodes.get(node.right) {
            summary.high = right.high;
            summary.gap = summary.gap.max(right.gap).max(right.low - node.end);
            summary.right = right.height;
        }
        Some(summary)
    }

    #[inline]
    fn note(&mut self, at: u32, summary: &Summary) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.low = summary.low;
            node.high = summary.high;
            node.gap = summary.gap;
            node.height = summary.left.max(summary.right) + 1;
        }
    }

    /// Makes a node's summary fit its children.
    fn update(&mut self, at: u32) {
        if let Some(summary) = self.summary(at) {
            self.note(at, &summary);
        }
    }

    fn children(&self, at: u32) -> (u32, u32) {
        self.nodes
            .get(at)
            .map_or((NIL, NIL), |node| (node.left, node.right))
    }

    /// Gives a node another left child, and leaves its summary for later.
    fn link_left(&mut self, at: u32, child: u32) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.left = child;
        }
    }

    /// Gives a node another right child, and leaves its summary for later.
    fn link_right(&mut self, at: u32, child: u32) {
        if let Some(node) = self.nodes.get_mut(at) {
            node.right = child;
        }
    }

    /// Makes the left child the root of the subtree.
    fn rotate_right(&mut self, at: u32) -> u32 {
        let (left, _) = self.children(at);
        let (_, middle) = self.children(left);
        self.link_left(at, middle);
        self.link_right(left, at);
        self.update(at);
        self.update(left);
        left
    }

    /// Makes the right child the root of the subtree.
    fn rotate_left(&mut self, at: u32) -> u32 {
        let (_, right) = self.children(at);
        let (middle, _) = self.children(right);
        self.link_right(at, middle);
        self.link_left(right, at);
        self.update(at);
        self.update(right);
        right
    }

    /// Makes a node's summary fit its children, one of which has changed, and balances the subtree
    /// where that has grown or shrunk by one. Returns its root.
    ///
    /// Each node on the way to a place comes by here, and few of them are out of balance.
    fn settle(&mut self, at: u32) -> u32 {
        match self.summary(at) {
            Some(summary) if summary.left > summary.right + 1 => self.lean_right(at),
            Some(summary) if summary.right > summary.left + 1 => self.lean_left(at),
            Some(summary) => {
                self.note(at, &summary);
                at
            }
            None => at,
        }
    }

    /// Balances a subtree whose left side is the deeper one by two. Returns its root.
    #[cold]
    fn lean_right(&mut self, at: u32) -> u32 {
        let (left, _) = self.children(at);
        let (outer, inner) = self.children(left);
        if self.height(inner) > self.height(outer) {
            let left = self.rotate_left(left);
            self.link_left(at, left);
        }
        self.rotate_right(at)
    }

    /// Balances a subtree whose right side is the deeper one by two. Returns its root.
    #[cold]
    fn lean_left(&mut self, at: u32) -> u32 {
        let (_, right) = self.children(at);
        let (inner, outer) = self.children(right);
        if self.height(inner) > self.height(outer) {
            let right = self.rotate_right(right);
            self.link_right(at, right);
        }
        self.rotate_left(at)
    }

    /// Puts the node `new`, which starts at `start`, into a subtree. Returns its root.
    fn insert_below(&mut self, at: u32, new: u32, start: u64) -> u32 {
        let Some(node) = self.nodes.get(at) else {
            return new;
        };
        let (left, right) = (node.left, node.right);
        if start < node.start {
            let root = self.insert_below(left, new, start);
            if root != left {
                self.link_left(at, root);
            }
        } else {
            let root = self.insert_below(right, new, start);
            if root != right {
                self.link_right(at, root);
            }
        }
        self.settle(at)
    }

    /// Takes the node that starts at `start` out of a subtree. Returns its root, and the node.
    fn remove_below(&mut self, at: u32, start: u64) -> (u32, u32) {
        let Some(node) = self.nodes.get(at) else {
            return (NIL, NIL);
        };
        let (left, right) = (node.left, node.right);
        let removed = match start.cmp(&node.start) {
            core::cmp::Ordering::Less => {
                let (root, removed) = self.remove_below(left, start);
                if root != left {
                    self.link_left(at, root);
                }
                removed
            }
            core::cmp::Ordering::Greater => {
                let (root, removed) = self.remove_below(right, start);
                if root != right {
                    self.link_right(at, root);
                }
                removed
            }
            core::cmp::Ordering::Equal => {
                if right == NIL {
                    return (left, at);
                }
                // The next one takes its place.
                let (right, next) = self.remove_first(right);
                self.link_left(next, left);
                self.link_right(next, right);
                return (self.settle(next), at);
            }
        };
        (self.settle(at), removed)
    }

    /// Takes the first node out of a subtree. Returns its root, and the node.
    fn remove_first(&mut self, at: u32) -> (u32, u32) {
        let (left, right) = self.children(at);
        if left == NIL {
            return (right, at);
        }
        let (left, first) = self.remove_first(left);
        self.link_left(at, left);
        (self.settle(at), first)
    }
}
