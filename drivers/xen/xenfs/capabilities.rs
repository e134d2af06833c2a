// SPDX-License-Identifier: GPL-2.0

//! `capabilities`: what this domain may do.

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
    domain,
    ext::seq::Text, //
};

pub(crate) struct Capabilities;

#[vtable]
impl Text for Capabilities {
    fn open() -> Result {
        CALLS.inc(Call::Capabilities);
        Ok(())
    }

    fn show(m: &SeqFile) -> Result {
        // The one capability there is: this domain controls the others.
        if domain::is_initial() {
            seq_print!(m, "control_d\n");
        }
        Ok(())
    }
}
