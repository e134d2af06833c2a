// SPDX-License-Identifier: GPL-2.0

//! `capabilities`: what this domain may do.

use crate::{
    Call,
    CALLS, //
};
use xen::{
    domain,
    ext::seq::Fixed, //
};

pub(crate) struct Capabilities;

impl Fixed for Capabilities {
    fn open() {
        CALLS.inc(Call::Capabilities);
    }

    fn text() -> &'static [u8] {
        // The one capability there is: this domain controls the others.
        if domain::is_initial() {
            b"control_d\n"
        } else {
            b""
        }
    }
}
