// SPDX-License-Identifier: GPL-2.0

//! The life of one grant mapping.
//!
//! ```text
//!           occupy(handle)        retire()
//!   Free ------------------> Mapped ------> Retiring
//!    ^                                       |   ^
//!    | settle(Ok(proof))              begin()|   | settle(Err(handle))
//!    +------------------ Unmapping <---------+---+
//! ```
//!
//! A handle is in one place: in the slot, or with whoever asks Xen to unmap it. So a mapping is
//! unmapped once, and what Xen refused to unmap is not forgotten.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// What names a mapping to Xen.
pub trait MappingHandle {
    /// The proof that Xen let go of a mapping.
    type Released;
}

/// One grant mapping.
#[derive(Debug, PartialEq, Eq)]
pub enum Slot<H> {
    /// Nothing is mapped.
    Free,
    /// The grant is mapped, and in use.
    Mapped(H),
    /// The grant is mapped, and is to be unmapped as soon as that can be.
    Retiring(H),
    /// Xen is being asked to unmap the grant.
    Unmapping,
}

impl<H: MappingHandle> Slot<H> {
    /// Whether Xen holds nothing for this slot.
    #[inline]
    pub fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// Whether the grant is mapped, and nobody has asked for its end.
    #[inline]
    pub fn is_mapped(&self) -> bool {
        matches!(self, Self::Mapped(_))
    }

    /// Whether the grant waits for being unmapped.
    #[inline]
    pub fn is_retiring(&self) -> bool {
        matches!(self, Self::Retiring(_))
    }

    /// Puts a new mapping into a free slot. Gives it back if the slot is not free.
    #[inline]
    pub fn occupy(&mut self, handle: H) -> Result<(), H> {
        if !self.is_free() {
            return Err(handle);
        }
        *self = Self::Mapped(handle);
        Ok(())
    }

    /// Asks for the end of the mapping. Returns whether this is news.
    #[inline]
    pub fn retire(&mut self) -> bool {
        match core::mem::replace(self, Self::Unmapping) {
            Self::Mapped(handle) => {
                *self = Self::Retiring(handle);
                true
            }
            other => {
                *self = other;
                false
            }
        }
    }

    /// Takes the handle out, for asking Xen to unmap it. The answer goes to [`Slot::settle`].
    ///
    /// [`None`] unless the slot is retiring.
    #[inline]
    pub fn begin(&mut self) -> Option<H> {
        match core::mem::replace(self, Self::Unmapping) {
            Self::Retiring(handle) => Some(handle),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes note of Xen's answer: the proof that the mapping is gone, or the handle back.
    ///
    /// A slot that was refused waits for another try. Returns whether the slot is free now.
    #[inline]
    pub fn settle(&mut self, answer: Result<H::Released, H>) -> bool {
        match answer {
            Ok(_) if matches!(self, Self::Unmapping) => *self = Self::Free,
            Ok(_) => {}
            Err(handle) => *self = Self::Retiring(handle),
        }
        self.is_free()
    }
}
