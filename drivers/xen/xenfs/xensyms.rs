// SPDX-License-Identifier: GPL-2.0

//! `xensyms`: the hypervisor's symbols, as `/proc/kallsyms` has the kernel's.

use crate::{
    Call,
    CALLS, //
};
use kernel::{
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};
use xen::{
    ext::seq::Sequence,
    symbols::SymbolReader, //
};

pub(crate) struct Xensyms(SymbolReader);

impl Sequence for Xensyms {
    fn open() -> Result<Self> {
        CALLS.inc(Call::Xensyms);
        Ok(Self(SymbolReader::new()?))
    }

    fn fetch(&mut self, number: u64) -> Result<Option<u64>> {
        let number = u32::try_from(number).map_err(|_| EINVAL)?;
        Ok(self.0.read(number)?.map(u64::from))
    }

    fn show(&self, m: &SeqFile) -> Result {
        let symbol = &self.0;
        seq_print!(
            m,
            "{:016x} {} {}\n",
            symbol.address(),
            symbol.kind(),
            symbol.name()
        );
        Ok(())
    }
}
