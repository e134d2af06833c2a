// SPDX-License-Identifier: GPL-2.0

//! What `IOCTL_GNTDEV_GRANT_COPY` is asked to copy: reading it, checking it, cutting it at pages.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// The bytes of a page, as Xen counts.
pub const PAGE: u64 = 4096;

/// The bytes of `struct gntdev_grant_copy_segment`.
pub const SEGMENT_SIZE: usize = 24;

/// Where in it the status is.
pub const STATUS_OFFSET: usize = 20;

/// How many pieces a segment has at most: one of its sides is within a page, hence the other
/// touches two at most.
pub const PIECES_MAX: usize = 2;

const SOURCE_GRANT: u16 = 1 << 0;
const DEST_GRANT: u16 = 1 << 1;

/// Where to copy from or to.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A page that another domain grants.
    Grant {
        /// The domain.
        domid: u16,
        /// Its reference.
        reference: u32,
        /// Where in the page, in bytes.
        offset: u16,
    },
    /// An address of the process.
    Local(u64),
}

/// A segment. One of its sides is a grant, and is within a page.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where to copy from.
    pub source: Place,
    /// Where to copy to.
    pub dest: Place,
    /// How many bytes.
    pub len: u16,
}

/// A part of a segment that crosses no page on either side.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where in the segment it begins, in bytes.
    pub at: u16,
    /// How many bytes.
    pub len: u16,
}

impl Place {
    fn read(raw: u64, grant: bool) -> Self {
        if !grant {
            return Self::Local(raw);
        }
        let [a, b, c, d, e, f, g, h] = raw.to_ne_bytes();
        Self::Grant {
            reference: u32::from_ne_bytes([a, b, c, d]),
            offset: u16::from_ne_bytes([e, f]),
            domid: u16::from_ne_bytes([g, h]),
        }
    }

    /// Whether `len` bytes from here on may be copied in one segment.
    fn holds(self, len: u16) -> bool {
        match self {
            Self::Grant { offset, .. } => u64::from(offset) + u64::from(len) <= PAGE,
            Self::Local(_) => true,
        }
    }

    /// How many of `len` bytes from here on are in the first page.
    fn in_first_page(self, len: u16) -> u16 {
        match self {
            Self::Grant { .. } => len,
            // Less than a page, or less than `len`.
            Self::Local(address) => (PAGE - address % PAGE).min(u64::from(len)) as u16,
        }
    }
}

impl Segment {
    /// Reads a segment as user space has it.
    ///
    /// [`None`] where neither side is a grant, or a grant's side leaves its page.
    pub fn read([source, dest, rest]: [u64; 3]) -> Option<Self> {
        let [a, b, c, d, ..] = rest.to_ne_bytes();
        let len = u16::from_ne_bytes([a, b]);
        let flags = u16::from_ne_bytes([c, d]);
        if flags & (SOURCE_GRANT | DEST_GRANT) == 0 {
            return None;
        }
        let source = Place::read(source, flags & SOURCE_GRANT != 0);
        let dest = Place::read(dest, flags & DEST_GRANT != 0);
        (source.holds(len) && dest.holds(len)).then_some(Self { source, dest, len })
    }

    /// The address in the process, and whether it is written to, if a side is there.
    pub fn local(&self) -> Option<(u64, bool)> {
        match (self.source, self.dest) {
            (Place::Local(address), _) => Some((address, false)),
            (_, Place::Local(address)) => Some((address, true)),
            _ => None,
        }
    }

    /// Whether it is in one page on either side, and not empty.
    pub fn is_one_piece(&self) -> bool {
        let len = self.len;
        len != 0 && self.source.in_first_page(len) == len && self.dest.in_first_page(len) == len
    }

    /// Cuts the segment at the pages of the process. Nothing to copy is no pieces.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> {
        let first = self
            .source
            .in_first_page(self.len)
            .min(self.dest.in_first_page(self.len));
        [
            Piece { at: 0, len: first },
            Piece {
                at: first,
                len: self.len - first,
            },
        ]
        .into_iter()
        .filter(|piece| piece.len != 0)
    }
}
