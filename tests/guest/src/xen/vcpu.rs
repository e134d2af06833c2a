// SPDX-License-Identifier: GPL-2.0

//! A bare domain that runs after all: a vCPU with a few bytes of machine code that plays a virtio device's driver.
//!
//! The guest notifies a queue, as drivers do by writing its number to a register of the device, waits for an interrupt,
//! and counts it; again and again. There is no memory at the register, so that Xen asks a device model what to do.

use super::domain::{header, Header, FIRST_GFN};
use super::{BareDomain, Kind, DATA, DOMCTL};
use crate::abi::plain_structs;
use crate::sys::{Errno, Mapping, Plain, Result, PAGE};

plain_structs! {
    /// `struct xen_domctl` with `hvmcontext`.
    struct Context = 144 {
        header: Header,
        size: u32,
        pad: u32,
        buffer: u64,
        rest: [u64; 14],
    }
    /// `struct hvm_save_descriptor`.
    struct Descriptor = 8 {
        typecode: u16,
        instance: u16,
        length: u32,
    }
    /// `struct hvm_hw_cpu`; the segments are cs, ds, es, fs, gs, ss, tr and ldtr, then idtr and gdtr.
    struct Cpu = 1032 {
        fpu: [[u64; 32]; 2],
        general: [u64; 16],
        rip: u64,
        rflags: u64,
        control: [u64; 4],
        debug: [u64; 6],
        selectors: [u32; 8],
        limits: [u32; 10],
        bases: [u64; 10],
        attributes: [u32; 8],
        registers: [u64; 11],
        tsc: u64,
        event: u32,
        error: u32,
        flags: u32,
        pad: u32,
    }
}

const UNPAUSE: u32 = 4;
const GET_CONTEXT: u32 = 33;
const SET_CONTEXT: u32 = 34;

/// `struct hvm_save_header` with its descriptor, which every context begins with.
const CONTEXT_HEADER: usize = 8 + 24;
const CPU_CODE: u16 = 2;

/// The register that the guest writes the number of a queue to.
pub const NOTIFY: u64 = REGISTERS + 0x50;
/// The address of the device's registers.
pub const REGISTERS: u64 = 0x0a00_0000;
/// The queue that is notified in each round, by a write of four bytes.
pub const QUEUE: u32 = 3;
/// The queue that is notified at the end of each leg.
pub const LAST_QUEUE: u32 = 7;
/// The interrupt that the guest expects.
pub const VECTOR: u8 = 0x40;

/// Where its two pages are: that of the code and the tables, and that of the numbers.
const CODE_PAGE: u32 = (FIRST_GFN as u32) << 12;
const NUMBERS_PAGE: u32 = CODE_PAGE + PAGE as u32;
const _: () = assert!(CODE_PAGE == 0x0040_0000, "the program's addresses");
/// Where in the first are the interrupt's handler, the descriptors of segments, and those of interrupts.
const HANDLER: usize = 0x47;
const GDT: usize = 0x300;
const IDT: usize = 0x400;
/// Where in the second are the counts, in rounds: interrupts, legs that have ended, and the rounds after which the
/// current and the next leg end.
const INTERRUPTS: usize = 0;
const LEGS: usize = 4;
const THIS_LEG: usize = 8;
const NEXT_LEG: usize = 12;

/// The program, for a vCPU with flat segments of 32 bits and without paging, at [`CODE_PAGE`].
#[rustfmt::skip]
const PROGRAM: &[u8] = &[
    0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0, 0, //       movl $0x1ff, 0xfee000f0  (enables the APIC)
    0x31, 0xdb,                                           //       xorl %ebx, %ebx
    0xfa,                                                 // next: cli
    0xc7, 0x05, 0x50, 0x00, 0x00, 0x0a, 3, 0, 0, 0,       //       movl $QUEUE, NOTIFY
    0xfb,                                                 // wait: sti
    0xf4,                                                 //       hlt
    0xfa,                                                 //       cli
    0x39, 0x1d, 0x00, 0x10, 0x40, 0x00,                   //       cmpl %ebx, INTERRUPTS
    0x74, 0xf5,                                           //       je wait
    0x43,                                                 //       incl %ebx
    0x3b, 0x1d, 0x08, 0x10, 0x40, 0x00,                   //       cmpl THIS_LEG, %ebx
    0x72, 0xe1,                                           //       jb next
    0xc7, 0x05, 0x50, 0x00, 0x00, 0x0a, 7, 0, 0, 0,       //       movl $LAST_QUEUE, NOTIFY
    0xff, 0x05, 0x04, 0x10, 0x40, 0x00,                   //       incl LEGS
    0xa1, 0x0c, 0x10, 0x40, 0x00,                         //       movl NEXT_LEG, %eax
    0xa3, 0x08, 0x10, 0x40, 0x00,                         //       movl %eax, THIS_LEG
    0xeb, 0xc5,                                           //       jmp next
    // At HANDLER:
    0xff, 0x05, 0x00, 0x10, 0x40, 0x00,                   //       incl INTERRUPTS
    0xc7, 0x05, 0xb0, 0x00, 0xe0, 0xfe, 0, 0, 0, 0,       //       movl $0, 0xfee000b0  (end of interrupt)
    0xcf,                                                 //       iret
];

/// The domain while it runs.
#[derive(Debug)]
pub struct Driver {
    numbers: Mapping,
}

impl Driver {
    /// Lets a fresh translated domain run, for legs of so many rounds.
    pub fn start(domain: &BareDomain, rounds: u32) -> Result<Self> {
        if domain.kind() != Kind::Pvh {
            return Err(Errno(libc::EINVAL));
        }
        let frames = domain.populate(2)?;
        let memory = domain.xen().privcmd().map_frames(domain.id(), &frames)?;
        for (i, byte) in PROGRAM.iter().enumerate() {
            memory.write_at(i, byte);
        }
        // Nothing, code, data: flat.
        for (i, descriptor) in [0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff_u64]
            .iter()
            .enumerate()
        {
            memory.write_at(GDT + i * 8, descriptor);
        }
        let handler = u64::from(CODE_PAGE) + HANDLER as u64;
        let gate = ((handler >> 16) << 48) | (0x8e00 << 32) | (8 << 16) | (handler & 0xffff);
        memory.write_at(IDT + usize::from(VECTOR) * 8, &gate);
        memory.write_at(PAGE + THIS_LEG, &rounds);
        memory.write_at(PAGE + NEXT_LEG, &rounds.saturating_mul(2));
        domain.load(&Self::cpu())?;
        domain.xen().simple(UNPAUSE, domain.id(), 0)?;
        Ok(Self { numbers: memory })
    }

    fn cpu() -> Cpu {
        const FLAT: u32 = u32::MAX;
        let code = u64::from(CODE_PAGE);
        let mut cpu = Cpu {
            rip: code,
            selectors: [8, 16, 16, 16, 16, 16, 0, 0],
            limits: [FLAT, FLAT, FLAT, FLAT, FLAT, FLAT, 0x67, 0, 0x3ff, 23],
            attributes: [0xc9b, 0xc93, 0xc93, 0xc93, 0xc93, 0xc93, 0x8b, 0],
            ..Plain::zeroed()
        };
        // rsp: the end of the numbers' page.
        cpu.general[7] = u64::from(NUMBERS_PAGE) + PAGE as u64;
        // cr0: protection, and a bit that is always set.
        cpu.control[0] = 0x11;
        cpu.debug[4] = 0xffff_0ff0;
        cpu.debug[5] = 0x400;
        cpu.bases[8] = code + IDT as u64;
        cpu.bases[9] = code + GDT as u64;
        cpu
    }

    fn number(&self, offset: usize) -> u32 {
        self.numbers.read_at(PAGE + offset)
    }

    /// Interrupts that the guest has had.
    pub fn interrupts(&self) -> u32 {
        self.number(INTERRUPTS)
    }

    /// Legs that it has come to the end of: the last queue's notification was answered.
    pub fn legs(&self) -> u32 {
        self.number(LEGS)
    }
}

impl BareDomain {
    /// Sets the state of its vCPU.
    fn load(&self, cpu: &Cpu) -> Result<()> {
        let xen = self.xen();
        // What it begins with only Xen can tell.
        let mut argument = Context {
            header: header(GET_CONTEXT, self.id()),
            size: xen.buffer_size() as u32,
            buffer: xen.buffer_address(),
            ..Plain::zeroed()
        };
        xen.call(DOMCTL, None, &mut argument)?;

        let at = DATA + CONTEXT_HEADER;
        let descriptor = Descriptor {
            typecode: CPU_CODE,
            instance: 0,
            length: size_of::<Cpu>() as u32,
        };
        let (record, end) = (at + 8, at + 8 + size_of::<Cpu>());
        xen.buffer.write_at(at, &descriptor);
        xen.buffer.write_at(record, cpu);
        xen.buffer.write_at(end, &Descriptor::zeroed());
        let mut argument = Context {
            header: header(SET_CONTEXT, self.id()),
            size: (end + 8 - DATA) as u32,
            buffer: xen.buffer_address(),
            ..Plain::zeroed()
        };
        xen.call(DOMCTL, None, &mut argument).map(drop)
    }
}
