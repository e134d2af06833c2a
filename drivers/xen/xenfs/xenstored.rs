// SPDX-License-Identifier: GPL-2.0

//! `xsd_kva` and `xsd_port`: how xenstored in this domain gets at the kernel.

use crate::{
    Call,
    CALLS, //
};
use kernel::{
    mm::virt::VmaNew,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};
use xen::{
    ext::seq::Text,
    store::{
        self,
        Interface, //
    },
};

/// The page of requests and answers. To be mapped; the text is its address in the kernel.
pub(crate) struct Kva;

#[vtable]
impl Text for Kva {
    fn open() -> Result {
        CALLS.inc(Call::XsdKva);
        Ok(())
    }

    fn show(m: &SeqFile) -> Result {
        Interface::get().ok_or(ENODEV)?.show_address(m);
        Ok(())
    }

    fn mmap(vma: &VmaNew) -> Result {
        Interface::get().ok_or(ENODEV)?.map(vma)
    }
}

/// The event channel, which xenstored binds to.
pub(crate) struct Port;

#[vtable]
impl Text for Port {
    fn open() -> Result {
        CALLS.inc(Call::XsdPort);
        Ok(())
    }

    fn show(m: &SeqFile) -> Result {
        seq_print!(m, "{}", store::port());
        Ok(())
    }
}
