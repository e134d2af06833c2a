// SPDX-License-Identifier: GPL-2.0

//! The hypervisor underneath, as `/sys/hypervisor` tells it.

use serde::Serialize;

use crate::system::System;

/// Xen, and what it runs us as.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Hypervisor {
    /// `4.20.1`, with what the builder added.
    pub version: String,
    /// `PV`, `PVH` or `HVM`, if the kernel tells.
    pub guest_type: Option<String>,
    /// Whether this is the domain that controls the others; unknown where xenfs is not mounted.
    pub control_domain: Option<bool>,
}

impl Hypervisor {
    /// Nothing if there is no Xen.
    pub fn find(system: &System) -> Option<Self> {
        if system.text("/sys/hypervisor/type")? != "xen" {
            return None;
        }
        let part = |name: &str| {
            system
                .text(&format!("/sys/hypervisor/version/{name}"))
                .unwrap_or_default()
        };
        Some(Self {
            version: format!("{}.{}{}", part("major"), part("minor"), part("extra")),
            guest_type: system.text("/sys/hypervisor/guest_type"),
            control_domain: system
                .text("/proc/xen/capabilities")
                .map(|text| text.contains("control_d")),
        })
    }
}
