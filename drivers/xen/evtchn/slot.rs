// SPDX-License-Identifier: GPL-2.0

//! To whom a port number belongs, for those who ask without a lock.
//!
//! There is a [`Slot`] for each port number of the domain. It names the file that has the number
//! now, and the index of the port in that file's table. Sending an event asks here and nowhere
//! else.
//!
//! # Why it is right
//!
//! Who sends [enters](Slot::enter) the slot: one compare-and-exchange that finds the slot owned by
//! the sender's file and counts the sender in. Who unbinds [withdraws](Slot::withdraw) the owner,
//! after which nobody enters, and waits until those inside have left; only then may the channel be
//! closed and its number mean something else. So an event is never sent through a number that has
//! changed hands, and a sender waits for nobody.
//!
//! Slots are published and withdrawn under the lock that serialises binding and unbinding.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

use super::atomics::{
    AtomicU64,
    Ordering, //
};

/// The word: who is inside (22 bits), the index (18 bits), the file (24 bits).
///
/// There are fewer threads in a system than fit in the first (`PID_MAX_LIMIT`), and a file's
/// table, with every port there can be and as many that are lost, fits in the second.
const INSIDE: u64 = (1 << 22) - 1;
const INDEX_SHIFT: u32 = 22;
const INDEX_MAX: u32 = (1 << 18) - 1;
const FILE_SHIFT: u32 = 40;
const FILE_MAX: u32 = (1 << 24) - 1;

/// A file's number, by which slots name it. Never 0.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct FileId(u32);

impl FileId {
    /// The file of number `id`: 1 to 16,777,215.
    #[inline]
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 || id > FILE_MAX {
            None
        } else {
            Some(Self(id))
        }
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Who has a port number.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    file: FileId,
    index: u32,
}

impl Owner {
    /// The port at `index` of `file`'s table. [`None`] for an index beyond what a slot holds.
    #[inline]
    pub const fn new(file: FileId, index: u32) -> Option<Self> {
        if index > INDEX_MAX {
            None
        } else {
            Some(Self { file, index })
        }
    }

    /// The file.
    #[inline]
    pub const fn file(self) -> FileId {
        self.file
    }

    /// The index in the file's table.
    #[inline]
    pub const fn index(self) -> u32 {
        self.index
    }

    const fn pack(self) -> u64 {
        ((self.file.0 as u64) << FILE_SHIFT) | ((self.index as u64) << INDEX_SHIFT)
    }

    #[inline]
    const fn unpack(word: u64) -> Option<Self> {
        match FileId::new((word >> FILE_SHIFT) as u32) {
            Some(file) => Some(Self {
                file,
                index: (word >> INDEX_SHIFT) as u32 & INDEX_MAX,
            }),
            None => None,
        }
    }
}

/// Who has one port number.
pub struct Slot {
    word: AtomicU64,
}

impl Slot {
    /// A number that nobody has.
    pub fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
        }
    }

    /// Who has the number now. What is done about it is done under a lock that tells more.
    #[inline]
    pub fn owner(&self) -> Option<Owner> {
        Owner::unpack(self.word.load(Ordering::Relaxed))
    }

    /// Gives the number to `owner`.
    ///
    /// Nobody has it, and those who were inside have left: the caller has withdrawn the former
    /// owner and waited, and holds the lock since.
    pub fn publish(&self, owner: Owner) {
        self.word.store(owner.pack(), Ordering::Release);
    }

    /// Takes the number from whoever has it. From now on nobody enters.
    pub fn withdraw(&self) {
        self.word.fetch_and(INSIDE, Ordering::Relaxed);
    }

    /// Whether nobody is inside. After [`Slot::withdraw`], this stays so once it is.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.word.load(Ordering::Acquire) & INSIDE == 0
    }

    /// Enters on behalf of `file`: the number stays the file's until the guard goes.
    ///
    /// [`None`] if the file does not have the number.
    #[inline]
    pub fn enter(&self, file: FileId) -> Option<Inside<'_>> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if (word >> FILE_SHIFT) as u32 != file.0 {
                return None;
            }
            match self.word.compare_exchange_weak(
                word,
                // No overflow into the index: there are not so many threads.
                word.wrapping_add(1),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(word) => {
                    return Some(Inside {
                        slot: self,
                        index: (word >> INDEX_SHIFT) as u32 & INDEX_MAX,
                    })
                }
                Err(now) => word = now,
            }
        }
    }
}

/// The number stays with its owner as long as this exists.
pub struct Inside<'a> {
    slot: &'a Slot,
    index: u32,
}

impl Inside<'_> {
    /// The index of the port in the table of the file that has it.
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        self.slot.word.fetch_sub(1, Ordering::Release);
    }
}
