// SPDX-License-Identifier: GPL-2.0

//! The lanes: which kernel we build for and boot, and how dom0 and the drivers run there.

/// A kernel to build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Debian's own kernel image, untouched.
    Stock,
    /// The newest source the archive has, with our configuration: KUnit, every driver a module.
    Kunit,
}

impl Lane {
    pub const ALL: [Lane; 2] = [Lane::Stock, Lane::Kunit];

    pub fn name(self) -> &'static str {
        match self {
            Lane::Stock => "stock",
            Lane::Kunit => "kunit",
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
