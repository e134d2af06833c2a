// SPDX-License-Identifier: GPL-2.0

//! The lanes: which kernel we build for and boot, and how dom0 and the drivers run there.

/// A kernel to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Debian's own kernel image, untouched.
    Stock,
    /// The newest source the archive has, with our configuration: KUnit, every driver a module.
    Kunit,
    /// The same with all that finds errors of memory, locks and arithmetic, for a PVH dom0.
    Sanitize,
    /// The same for a PV dom0, which does without KASAN.
    SanitizePv,
}

impl Lane {
    pub const ALL: [Lane; 4] = [Lane::Stock, Lane::Kunit, Lane::Sanitize, Lane::SanitizePv];

    pub fn name(self) -> &'static str {
        match self {
            Lane::Stock => "stock",
            Lane::Kunit => "kunit",
            Lane::Sanitize => "sanitize",
            Lane::SanitizePv => "sanitize-pv",
        }
    }

    /// The fragments of a configuration of ours, below xtask/config; the later ones win.
    pub fn fragments(self) -> &'static [&'static str] {
        match self {
            Lane::Stock => &[],
            Lane::Kunit => &["kunit"],
            Lane::Sanitize => &["kunit", "sanitize"],
            Lane::SanitizePv => &["kunit", "sanitize", "sanitize-pv"],
        }
    }

    /// What make is told for the kernel and for modules alike.
    ///
    /// Rust under KASAN needs clang, of the LLVM that is in the build root's rustc.
    pub fn make_arguments(self) -> &'static [&'static str] {
        match self {
            Lane::Stock | Lane::Kunit => &[],
            Lane::Sanitize | Lane::SanitizePv => &["LLVM=-19"],
        }
    }

    /// What make is told for our modules alone: that hypercalls can be made to fail.
    pub fn module_arguments(self) -> &'static [&'static str] {
        match self {
            Lane::Stock | Lane::Kunit => &[],
            Lane::Sanitize | Lane::SanitizePv => &["XEN_RUST_FAULTS=1"],
        }
    }

    /// The packages that takes, beyond what every build root has.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Lane::Stock | Lane::Kunit => &[],
            Lane::Sanitize | Lane::SanitizePv => &["clang-19", "lld-19", "llvm-19"],
        }
    }

    /// Whether the kernel is one as users run it: only what runs in it differs in the others.
    pub fn is_plain(self) -> bool {
        self.packages().is_empty()
    }

    /// The lane whose kernel dom0's guests run. What finds errors in dom0 would only make them
    /// slow and large, and KASAN's does not boot as a PV guest.
    pub fn guest_lane(self) -> Lane {
        match self {
            Lane::Stock | Lane::Kunit => self,
            Lane::Sanitize | Lane::SanitizePv => Lane::Kunit,
        }
    }

    /// As what kinds of dom0 the kernel boots.
    pub fn dom0s(self) -> &'static [Dom0] {
        match self {
            Lane::Stock | Lane::Kunit => &Dom0::ALL,
            Lane::Sanitize => &[Dom0::Pvh],
            Lane::SanitizePv => &[Dom0::Pv],
        }
    }

    /// Megabytes that dom0 needs. Shadow memory and quarantines want theirs.
    pub fn dom0_memory(self) -> u32 {
        match self {
            Lane::Stock | Lane::Kunit => 1024,
            Lane::Sanitize | Lane::SanitizePv => 3072,
        }
    }

    /// Further words on dom0's command line.
    pub fn command_line(self) -> &'static str {
        match self {
            Lane::Stock | Lane::Kunit => "",
            Lane::Sanitize => " page_poison=1",
            Lane::SanitizePv => " page_poison=1 slub_debug=FZPU",
        }
    }

    /// How many times longer than otherwise everything takes.
    pub fn slowness(self) -> u32 {
        match self {
            Lane::Stock | Lane::Kunit => 1,
            Lane::Sanitize | Lane::SanitizePv => 5,
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lane| lane.name() == name)
    }
}

/// How Xen runs dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dom0 {
    Pv,
    Pvh,
}

impl Dom0 {
    pub const ALL: [Dom0; 2] = [Dom0::Pv, Dom0::Pvh];

    pub fn name(self) -> &'static str {
        match self {
            Dom0::Pv => "pv",
            Dom0::Pvh => "pvh",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dom0| dom0.name() == name)
    }
}

/// Whose drivers dom0 loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drivers {
    /// Ours.
    Rust,
    /// The kernel's own: the control, which shows what a test is worth.
    C,
}

impl Drivers {
    /// The word for it on the guest's kernel command line.
    pub fn name(self) -> &'static str {
        match self {
            Drivers::Rust => "rust",
            Drivers::C => "c",
        }
    }
}
