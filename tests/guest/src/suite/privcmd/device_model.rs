// SPDX-License-Identifier: GPL-2.0

//! DM_OP.

use std::fs;

use crate::abi::plain_structs;
use crate::abi::privcmd::{self as abi, DmOpBuf};
use crate::abi::DomId;
use crate::device::privcmd::Resource;
use crate::device::Privcmd;
use crate::ktap::{check, equal, FailsWith, TestResult};
use crate::sys::{self, Mapping, Plain, Result, PAGE};
use crate::xen::{BareDomain, Kind};

plain_structs! {
    /// `struct xen_dm_op` with a few numbers, which is all that these operations need.
    struct Operation = 48 {
        op: u32,
        pad: u32,
        words: [u32; 10],
    }
}

const CREATE_IOREQ_SERVER: u32 = 1;
const MAP_IO_RANGE: u32 = 3;
const DESTROY_IOREQ_SERVER: u32 = 6;
const SET_IOREQ_SERVER_STATE: u32 = 5;
const SET_MEM_TYPE: u32 = 12;
const INJECT_MSI: u32 = 14;
const MAP_MEM_TYPE: u32 = 15;
const REMOTE_SHUTDOWN: u32 = 16;
const RELOCATE_MEMORY: u32 = 17;
const NR_VCPUS: u32 = 20;

impl Operation {
    /// Asks for the number of vCPUs.
    pub fn nr_vcpus() -> Self {
        Self {
            op: NR_VCPUS,
            ..Self::zeroed()
        }
    }

    /// Shuts the domain down as if it had done so itself, which Xen then shows.
    pub fn remote_shutdown() -> Self {
        Self {
            op: REMOTE_SHUTDOWN,
            ..Self::zeroed()
        }
    }

    /// Sends the first vCPU an interrupt.
    pub fn inject_msi(vector: u8) -> Self {
        let mut operation = Self {
            op: INJECT_MSI,
            ..Self::zeroed()
        };
        operation.words[0] = vector.into();
        // The address that such messages go to.
        operation.words[2] = 0xfee0_0000;
        operation
    }

    /// What takes the longer the more memory it is about: changing the type of pages, of all pages of a type, and
    /// moving pages.
    pub fn lengthy() -> [Self; 3] {
        [SET_MEM_TYPE, MAP_MEM_TYPE, RELOCATE_MEMORY].map(|op| Self {
            op,
            ..Self::zeroed()
        })
    }

    /// The operation as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let words = [self.op, self.pad].into_iter().chain(self.words);
        words.flat_map(u32::to_ne_bytes).collect()
    }

    fn buffer(&mut self) -> DmOpBuf {
        DmOpBuf {
            uptr: std::ptr::from_mut(self) as u64,
            size: size_of::<Self>() as u64,
        }
    }
}

/// An ioreq server of a bare domain.
#[derive(Debug)]
pub struct IoreqServer {
    dom: DomId,
    id: u16,
}

impl IoreqServer {
    /// Makes one that handles buffered requests too.
    pub fn create(file: &Privcmd, domain: &BareDomain) -> Result<Self> {
        let mut operation = Operation {
            op: CREATE_IOREQ_SERVER,
            ..Operation::zeroed()
        };
        operation.words[0] = 1;
        file.dm_op_struct(domain.id(), &mut operation)?;
        Ok(Self {
            dom: domain.id(),
            id: operation.words[1] as u16,
        })
    }

    /// Its pages.
    pub fn resource(&self) -> Resource {
        Resource {
            dom: self.dom,
            kind: 0,
            id: self.id.into(),
        }
    }

    /// Has it asked about accesses to `len` bytes from an address on that has no memory.
    pub fn serve(&self, file: &Privcmd, addr: u64, len: u64) -> Result<()> {
        let mut operation = Operation {
            op: MAP_IO_RANGE,
            ..Operation::zeroed()
        };
        let end = addr + len - 1;
        operation.words[0] = self.id.into();
        operation.words[1] = 1;
        operation.words[2] = addr as u32;
        operation.words[3] = (addr >> 32) as u32;
        operation.words[4] = end as u32;
        operation.words[5] = (end >> 32) as u32;
        file.dm_op_struct(self.dom, &mut operation).map(drop)
    }

    /// Lets it serve.
    pub fn enable(&self, file: &Privcmd) -> Result<()> {
        let mut operation = Operation {
            op: SET_IOREQ_SERVER_STATE,
            ..Operation::zeroed()
        };
        operation.words[0] = u32::from(self.id) | (1 << 16);
        file.dm_op_struct(self.dom, &mut operation).map(drop)
    }

    /// Takes it away.
    pub fn destroy(self, file: &Privcmd) -> Result<()> {
        let mut operation = Operation {
            op: DESTROY_IOREQ_SERVER,
            ..Operation::zeroed()
        };
        operation.words[0] = self.id.into();
        file.dm_op_struct(self.dom, &mut operation).map(drop)
    }
}

pub fn dm_op() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let mut operation = Operation::nr_vcpus();
    file.dm_op_struct(domain.id(), &mut operation)?;
    equal(operation.words[0], 1, "vCPUs")?;
    file.dm_op_struct(0x7fe0, &mut operation)
        .fails_with(libc::ESRCH)?;
    let mut unknown = Operation {
        op: 9999,
        ..Operation::zeroed()
    };
    file.dm_op_struct(domain.id(), &mut unknown)
        .fails_with(libc::EOPNOTSUPP)?;
    // A paravirtual domain has no device model.
    let other = BareDomain::new(Kind::Pv)?;
    file.dm_op_struct(other.id(), &mut operation)
        .fails_with_any(&[libc::EINVAL, libc::EOPNOTSUPP])
}

pub fn no_buffers() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    equal(file.dm_op(domain.id(), &[])?, 0, "the result of nothing")?;
    equal(
        file.dm_op(0x7fe0, &[])?,
        0,
        "the result of nothing for no domain",
    )
}

pub fn empty_buffer() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let page = Mapping::anonymous(PAGE)?;
    for uptr in [page.addr() as u64, 0, page.addr() as u64 + 1] {
        let mut operation = Operation::nr_vcpus();
        let buffers = [operation.buffer(), DmOpBuf { uptr, size: 0 }];
        file.dm_op(domain.id(), &buffers)?;
        equal(operation.words[0], 1, "vCPUs")?;
    }
    Ok(())
}

pub fn limits() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let buffer = |size: u64| DmOpBuf {
        uptr: memory.addr() as u64,
        size,
    };
    file.dm_op(domain.id(), &[buffer(8); 17])
        .fails_with(libc::E2BIG)?;
    file.dm_op(domain.id(), &vec![buffer(8); 65535])
        .fails_with(libc::E2BIG)?;
    file.dm_op(domain.id(), &[buffer(4097)])
        .fails_with(libc::E2BIG)?;
    file.dm_op(domain.id(), &[buffer(48), buffer(u64::MAX)])
        .fails_with(libc::E2BIG)?;
    // At the limits Xen is asked, to which an operation of zeros is nothing.
    file.dm_op(domain.id(), &[buffer(4096)])
        .fails_with(libc::EOPNOTSUPP)
}

/// Puts a parameter back when dropped.
struct Parameter(&'static str, String);

impl Parameter {
    fn set(name: &'static str, value: &str) -> std::io::Result<Self> {
        let path = format!("/sys/module/xen_privcmd/parameters/{name}");
        let before = fs::read_to_string(&path)?;
        fs::write(&path, value)?;
        Ok(Self(name, before))
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        let _ = fs::write(
            format!("/sys/module/xen_privcmd/parameters/{}", self.0),
            self.1.trim(),
        );
    }
}

pub fn limits_change() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let buffer = |size: u64| DmOpBuf {
        uptr: memory.addr() as u64,
        size,
    };
    {
        let _most = Parameter::set("dm_op_max_nr_bufs", "2")?;
        let _size = Parameter::set("dm_op_buf_max_size", "5000")?;
        file.dm_op(domain.id(), &[buffer(48); 3])
            .fails_with(libc::E2BIG)?;
        file.dm_op(domain.id(), &[buffer(48), buffer(5001)])
            .fails_with(libc::E2BIG)?;
        file.dm_op(domain.id(), &[buffer(48), buffer(5000)])
            .fails_with(libc::EOPNOTSUPP)?;
    }
    for (name, value) in [
        ("dm_op_max_nr_bufs", "16\n"),
        ("dm_op_buf_max_size", "4096\n"),
    ] {
        let found = fs::read_to_string(format!("/sys/module/xen_privcmd/parameters/{name}"))?;
        equal(found.as_str(), value, name)?;
        let bad = fs::write(format!("/sys/module/xen_privcmd/parameters/{name}"), "many");
        check(bad.is_err(), format_args!("{name} takes a word"))?;
    }
    Ok(())
}

pub fn bad_buffers() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let mut argument = abi::DmOp {
        dom: domain.id(),
        num: 1,
        pad: 0,
        ubufs: 8,
    };
    sys::ioctl_struct(&file, abi::DM_OP, &mut argument).fails_with(libc::EFAULT)?;
    let mut operation = Operation::nr_vcpus();
    for uptr in [8, u64::MAX - 100, 1 << 63] {
        let buffers = [operation.buffer(), DmOpBuf { uptr, size: 16 }];
        file.dm_op(domain.id(), &buffers).fails_with(libc::EFAULT)?;
    }
    // Memory that may not be written: Xen would write to it.
    let page = Mapping::anonymous(PAGE)?;
    page.write_at(0, &Operation::nr_vcpus());
    page.protect(libc::PROT_READ)?;
    file.dm_op(
        domain.id(),
        &[DmOpBuf {
            uptr: page.addr() as u64,
            size: 48,
        }],
    )
    .fails_with(libc::EFAULT)
}

pub fn across_pages() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let memory = Mapping::anonymous(2 * PAGE)?;
    let at = PAGE - 12;
    memory.write_at(at, &Operation::nr_vcpus());
    file.dm_op(
        domain.id(),
        &[DmOpBuf {
            uptr: (memory.addr() + at) as u64,
            size: 48,
        }],
    )?;
    equal(memory.read_at::<Operation>(at).words[0], 1, "vCPUs")?;
    // As many pages as a call can pin: sixteen buffers, each across two.
    let mut buffers = vec![DmOpBuf {
        uptr: (memory.addr() + at) as u64,
        size: 48,
    }];
    buffers.resize(
        16,
        DmOpBuf {
            uptr: (memory.addr() + 100) as u64,
            size: 4096,
        },
    );
    for _ in 0..100 {
        file.dm_op(domain.id(), &buffers).or_else(|e| {
            // Xen has a limit of its own on the number of buffers.
            if e.0 == libc::E2BIG {
                Ok(0)
            } else {
                Err(e)
            }
        })?;
    }
    Ok(())
}
