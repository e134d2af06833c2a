// SPDX-License-Identifier: GPL-2.0

//! The hypervisor's symbol table, as it gives it to who asks.

use super::{Xen, DATA};
use crate::abi::plain_structs;
use crate::sys::{Errno, Plain, Result};

/// `__HYPERVISOR_platform_op`.
const PLATFORM_OP: u64 = 7;
/// `XENPF_INTERFACE_VERSION`.
const PLATFORM_VERSION: u32 = 0x0300_0001;
/// `XENPF_get_symbol`.
const GET_SYMBOL: u32 = 63;

plain_structs! {
    /// `struct xen_platform_op` with `xenpf_symdata`.
    struct Symbol = 136 {
        cmd: u32,
        interface_version: u32,
        name_len: u32,
        number: u32,
        name: u64,
        address: u64,
        kind: u8,
        pad1: [u8; 7],
        pad2: [u64; 12],
    }
}

impl Xen {
    /// The symbols, each as a line of what Linux makes of them: address, type and name.
    pub fn symbols(&self) -> Result<String> {
        let mut text = String::new();
        let mut number = 0;
        loop {
            let mut symbol = Symbol {
                cmd: GET_SYMBOL,
                interface_version: PLATFORM_VERSION,
                name_len: self.buffer_size() as u32,
                number,
                name: self.buffer_address(),
                ..Plain::zeroed()
            };
            self.call(PLATFORM_OP, None, &mut symbol)?;
            if symbol.number == number {
                return Ok(text);
            }
            number = symbol.number;
            let name: Vec<u8> = (0..symbol.name_len as usize)
                .map(|at| self.buffer.read_at::<u8>(DATA + at))
                .take_while(|&byte| byte != 0)
                .collect();
            let name = String::from_utf8(name).map_err(|_| Errno(libc::EILSEQ))?;
            let kind = char::from(symbol.kind);
            text += &format!("{:016x} {kind} {name}\n", symbol.address);
        }
    }
}
