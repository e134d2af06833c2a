// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's symbol table.
//!
//! C header: `include/xen/interface/platform.h`.

use crate::bindings;
use kernel::{
    error::to_result,
    prelude::*,
    str::BStr, //
};

/// How long a name is expected to be, with its NUL. Xen tells where one is longer.
const NAME_LEN: usize = 128;

/// Longer names than this are not believed.
const NAME_LEN_MAX: usize = 4096;

/// Reads the table symbol by symbol, and holds the one that was read last.
pub struct SymbolReader {
    name: KVec<u8>,
    name_len: usize,
    address: u64,
    kind: u8,
}

impl SymbolReader {
    /// A reader that has not read anything yet.
    pub fn new() -> Result<Self> {
        Ok(Self {
            name: KVec::from_elem(0, NAME_LEN, GFP_KERNEL)?,
            name_len: 0,
            address: 0,
            kind: 0,
        })
    }

    /// Reads symbol `number`, and returns the number of the one after it, or [`None`] at the end
    /// of the table.
    ///
    /// Calls Xen, may allocate.
    ///
    /// # Errors
    ///
    /// What Xen says: `EPERM` for a domain that may not ask, `ERANGE` for a number beyond the end.
    /// `E2BIG` for a name of more than 4095 bytes.
    pub fn read(&mut self, number: u32) -> Result<Option<u32>> {
        loop {
            let mut next = number;
            let mut kind = 0;
            let size = self.name.len();
            let mut len = u32::try_from(size).map_err(|_| EINVAL)?;
            // SAFETY: All are valid during the call; Xen writes to the name no more bytes than it
            // has.
            to_result(unsafe {
                bindings::xen_rust_get_symbol(
                    &mut next,
                    &mut self.address,
                    &mut kind,
                    self.name.as_mut_ptr().cast(),
                    &mut len,
                )
            })?;
            let len = len as usize;
            if len > NAME_LEN_MAX {
                return Err(E2BIG);
            }
            if len > size {
                // Again, with room for all of it.
                self.name.resize(len, 0, GFP_KERNEL)?;
                continue;
            }
            self.name_len = len.saturating_sub(1);
            self.kind = kind;
            return Ok(Some(next).filter(|&next| next != number));
        }
    }

    /// Where the symbol is, in the hypervisor's address space.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// What kind of symbol it is, as nm(1) shows it.
    pub fn kind(&self) -> char {
        char::from(self.kind)
    }

    /// The symbol's name.
    pub fn name(&self) -> &BStr {
        BStr::from_bytes(self.name.get(..self.name_len).unwrap_or_default())
    }
}
