// SPDX-License-Identifier: GPL-2.0

//! What has been called how often. Numbers only, nothing that a guest's data could be told from.

macro_rules! calls {
    (
        ioctls { $($(#[$iattr:meta])* $ivariant:ident = $itext:literal,)+ }
        hypercalls { $($(#[$hattr:meta])* $hvariant:ident = $htext:literal, $number:literal;)+ }
    ) => {
        xen::counters! {
            /// What is counted.
            pub(crate) enum Call, pub(crate) static CALLS {
                $($(#[$iattr])* $ivariant = $itext,)+
                $($(#[$hattr])* $hvariant = $htext,)+
            }
        }

        impl Call {
            /// Hypercall number `op`.
            #[inline]
            pub(crate) fn hypercall(op: u64) -> Self {
                /// Xen's table is longer than what has a name.
                const NUMBERS: usize = 64;
                const NAMED: [Call; NUMBERS] = {
                    let mut named = [Call::HypercallOther; NUMBERS];
                    $(named[$number] = Call::$hvariant;)+
                    named
                };
                usize::try_from(op)
                    .ok()
                    .and_then(|op| NAMED.get(op))
                    .copied()
                    .unwrap_or(Self::HypercallOther)
            }
        }
    };
}

// The numbers are those of `xen/include/public/xen.h`.
calls! {
    ioctls {
        /// Files opened.
        Open = "open",
        /// Mapping of tiles.
        Mmap = "mmap",
        /// Mapping of frames by number, either version.
        MmapBatch = "mmapbatch",
        /// Mapping of a resource.
        MmapResource = "mmap_resource",
        /// Device model's operations.
        DmOp = "dm_op",
        /// Restrictions.
        Restrict = "restrict",
        /// eventfds for injection, made or taken back.
        IrqFd = "irqfd",
        /// eventfds for notifications, made or taken back.
        IoEventFd = "ioeventfd",
        /// Injections by an eventfd.
        Injection = "injection",
        /// Those that Xen has refused.
        InjectionFailed = "injection_failed",
        /// Notifications of a guest that an eventfd was signalled for.
        Notification = "notification",
        /// GSIs asked for.
        PciDevGetGsi = "pcidev_get_gsi",
        /// Hypercall buffers mapped.
        Buffer = "buffer",
        /// Calls that the driver has refused or that have failed in it.
        Failed = "failed",
        /// Hypercalls for which Xen has returned an error.
        HypercallFailed = "hypercall_failed",
        /// Hypercalls that have no name here.
        HypercallOther = "hypercall_other",
    }
    hypercalls {
        /// Name says it, here and below.
        MmuUpdate = "hypercall_mmu_update", 1;
        /// .
        PlatformOp = "hypercall_platform_op", 7;
        /// .
        MemoryOp = "hypercall_memory_op", 12;
        /// .
        Multicall = "hypercall_multicall", 13;
        /// .
        XenVersion = "hypercall_xen_version", 17;
        /// .
        ConsoleIo = "hypercall_console_io", 18;
        /// .
        GrantTableOp = "hypercall_grant_table_op", 20;
        /// .
        VcpuOp = "hypercall_vcpu_op", 24;
        /// .
        MmuextOp = "hypercall_mmuext_op", 26;
        /// .
        XsmOp = "hypercall_xsm_op", 27;
        /// .
        SchedOp = "hypercall_sched_op", 29;
        /// .
        EventChannelOp = "hypercall_event_channel_op", 32;
        /// .
        PhysdevOp = "hypercall_physdev_op", 33;
        /// .
        HvmOp = "hypercall_hvm_op", 34;
        /// .
        Sysctl = "hypercall_sysctl", 35;
        /// .
        Domctl = "hypercall_domctl", 36;
        /// .
        KexecOp = "hypercall_kexec_op", 37;
        /// .
        ArgoOp = "hypercall_argo_op", 39;
        /// .
        XenpmuOp = "hypercall_xenpmu_op", 40;
        /// .
        DmOpRaw = "hypercall_dm_op", 41;
        /// .
        HypfsOp = "hypercall_hypfs_op", 42;
    }
}
