// SPDX-License-Identifier: GPL-2.0

//! Domains as Xen sees them, and domains that only hold memory, grants and ports for the tests to use.
//!
//! Such a bare domain does not run: it is made, given memory and destroyed by hypercall, which takes milliseconds.
//! [`super::vcpu`] has the exception.

use std::time::Duration;

use super::{Xen, DOMCTL};
use crate::abi::{plain_structs, DomId};
use crate::sys::{self, Plain, Result};

plain_structs! {
    /// `struct xen_domctl_getdomaininfo`.
    struct Info = 112 {
        /// Its number.
        domain: u16,
        /// Nothing.
        pad1: u16,
        /// `XEN_DOMINF_*`.
        flags: u32,
        /// Pages it has.
        tot_pages: u64,
        /// Pages it may have.
        max_pages: u64,
        /// Pages it has claimed.
        outstanding_pages: u64,
        /// Pages it shares.
        shr_pages: u64,
        /// Pages paged out.
        paged_pages: u64,
        /// The frame of its shared information.
        shared_info_frame: u64,
        /// Nanoseconds it has run.
        cpu_time: u64,
        /// vCPUs that are online.
        nr_online_vcpus: u32,
        /// The highest vCPU.
        max_vcpu_id: u32,
        /// Its security label.
        ssidref: u32,
        /// Its UUID.
        handle: [u8; 16],
        /// Its pool of CPUs.
        cpupool: u32,
        /// Bits of a guest physical address.
        gpaddr_bits: u8,
        /// Nothing.
        pad2: [u8; 7],
        /// What is emulated for it.
        emulation_flags: u32,
        /// Other architecture flags.
        misc_flags: u32,
    }
    /// `struct xen_domctl` with `createdomain`.
    struct Create = 144 {
        header: Header,
        ssidref: u32,
        handle: [u8; 16],
        flags: u32,
        iommu_opts: u32,
        max_vcpus: u32,
        max_evtchn_port: u32,
        max_grant_frames: i32,
        max_maptrack_frames: i32,
        grant_opts: u32,
        altp2m_opts: u32,
        vmtrace_size: u32,
        cpupool_id: u32,
        emulation_flags: u32,
        misc_flags: u32,
        rest: [u32; 15],
    }
    /// `struct xen_domctl` with one number.
    struct Simple = 144 {
        header: Header,
        value: u64,
        rest: [u64; 15],
    }
    /// `struct xen_domctl` with `getdomaininfo`.
    struct GetInfo = 144 {
        header: Header,
        info: Info,
        rest: [u64; 2],
    }
    /// What every `struct xen_domctl` begins with.
    struct Header = 16 {
        cmd: u32,
        interface_version: u32,
        domain: u16,
        pad: [u16; 3],
    }
}

/// `XEN_DOMCTL_INTERFACE_VERSION` of Xen 4.20.
const VERSION: u32 = 0x17;
const CREATE: u32 = 1;
const DESTROY: u32 = 2;
const GET_INFO: u32 = 5;
const MAX_MEM: u32 = 11;
const MAX_VCPUS: u32 = 15;
const SET_TARGET: u32 = 46;
const SET_PAGING_MEMPOOL_SIZE: u32 = 86;

const CDF_HVM: u32 = 1;
const CDF_HAP: u32 = 2;
const EMULATE_LAPIC: u32 = 1;
const XENMEM_POPULATE_PHYSMAP: u64 = 6;
const XENMEM_DECREASE_RESERVATION: u64 = 1;

/// Marks the domains that these tests make, so that one left behind can be told from others.
const HANDLE: [u8; 16] = *b"xen-guest tests!";

impl Info {
    /// The domain is being destroyed.
    pub fn is_dying(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The domain is a bare one of these tests.
    pub fn is_bare(&self) -> bool {
        self.handle == HANDLE
    }
}

/// What a domain is to Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Paravirtual: it knows machine frames.
    Pv,
    /// Translated, with hardware's help.
    Pvh,
}

pub(super) fn header(cmd: u32, domain: DomId) -> Header {
    Header {
        cmd,
        interface_version: VERSION,
        domain,
        pad: [0; 3],
    }
}

impl Xen {
    /// What Xen says about a domain; ESRCH when there is none.
    pub fn domain_info(&self, domain: DomId) -> Result<Info> {
        let mut argument = GetInfo {
            header: header(GET_INFO, domain),
            ..Plain::zeroed()
        };
        self.call(DOMCTL, None, &mut argument)?;
        Ok(argument.info)
    }

    /// Destroys a domain; it stays as a dying one while anyone holds its pages.
    pub fn destroy_domain(&self, domain: DomId) -> Result<()> {
        self.simple(DESTROY, domain, 0)
    }

    /// Lets a domain act on another as the device model of that one, for as long as it lives.
    pub fn set_target(&self, domain: DomId, target: DomId) -> Result<()> {
        self.simple(SET_TARGET, domain, target.into())
    }

    /// Sets how many KiB a domain can have at most; what it has more than that it keeps.
    pub fn set_max_memory(&self, domain: DomId, kib: u64) -> Result<()> {
        self.simple(MAX_MEM, domain, kib)
    }

    pub(super) fn simple(&self, cmd: u32, domain: DomId, value: u64) -> Result<()> {
        let mut argument = Simple {
            header: header(cmd, domain),
            value,
            rest: [0; 15],
        };
        loop {
            match self.call(DOMCTL, None, &mut argument) {
                // Xen asks to be called again when an operation takes long.
                Err(sys::Errno(libc::EAGAIN | libc::ERESTART)) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// A domain that does not run, unless it is given something to run.
#[derive(Debug)]
pub struct BareDomain {
    xen: Xen,
    id: DomId,
    kind: Kind,
}

impl BareDomain {
    /// Makes a domain.
    pub fn new(kind: Kind) -> Result<Self> {
        let xen = Xen::open()?;
        let (flags, emulation_flags) = match kind {
            Kind::Pv => (0, 0),
            Kind::Pvh => (CDF_HVM | CDF_HAP, EMULATE_LAPIC),
        };
        let mut argument = Create {
            header: header(CREATE, 0),
            handle: HANDLE,
            flags,
            max_vcpus: 1,
            max_evtchn_port: 1023,
            max_grant_frames: GRANT_FRAMES as i32,
            max_maptrack_frames: 0,
            grant_opts: 1,
            emulation_flags,
            ..Plain::zeroed()
        };
        xen.call(DOMCTL, None, &mut argument)?;
        let domain = Self {
            xen,
            id: argument.header.domain,
            kind,
        };
        if kind == Kind::Pvh {
            domain
                .xen
                .simple(SET_PAGING_MEMPOOL_SIZE, domain.id, 4 << 20)?;
        }
        domain.xen.simple(MAX_VCPUS, domain.id, 1)?;
        Ok(domain)
    }

    /// Its number.
    pub fn id(&self) -> DomId {
        self.id
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The hypervisor.
    pub fn xen(&self) -> &Xen {
        &self.xen
    }

    /// Gives it pages; their frames are as this domain's kind names them.
    pub fn populate(&self, pages: usize) -> Result<Vec<u64>> {
        let have = self.xen.domain_info(self.id)?.tot_pages;
        let most_kib = (have + pages as u64 + 64) * 4;
        self.xen.simple(MAX_MEM, self.id, most_kib)?;
        let first = FIRST_GFN + have;
        let wanted: Vec<u64> = (first..first + pages as u64).collect();
        let frames = self
            .xen
            .reserve(XENMEM_POPULATE_PHYSMAP, self.id, &wanted, 0)?;
        Ok(match self.kind {
            Kind::Pv => frames,
            Kind::Pvh => wanted,
        })
    }

    /// Takes pages away.
    pub fn depopulate(&self, frames: &[u64]) -> Result<()> {
        self.xen
            .reserve(XENMEM_DECREASE_RESERVATION, self.id, frames, 0)
            .map(drop)
    }

    /// Destroys it and tells whether it is gone within the time, that is, whether nobody holds its pages.
    pub fn destroyed_within(self, time: Duration) -> Result<bool> {
        self.xen.destroy_domain(self.id)?;
        Ok(sys::eventually(time, || {
            self.xen.domain_info(self.id).map(|i| i.domain) != Ok(self.id)
        }))
    }
}

/// The frame of a bare domain's first page, clear of what lies low.
pub(super) const FIRST_GFN: u64 = 0x400;
/// How large a bare domain's grant table may grow.
pub const GRANT_FRAMES: usize = 32;

impl Drop for BareDomain {
    fn drop(&mut self) {
        // A domain that cannot be destroyed is found by the check that follows each test.
        let _ = self.xen.destroy_domain(self.id);
    }
}
