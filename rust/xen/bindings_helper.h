/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: Xen's headers and the headers of the few kernel interfaces
 * that the kernel crate has no bindings for.
 */
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/poll.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/syscore_ops.h>
#include <linux/sysfs.h>

#include <xen/xen.h>
#include <xen/balloon.h>
#include <xen/events.h>
#include <xen/evtchn.h>
#include <xen/features.h>
#include <xen/interface/grant_table.h>
#include <xen/gntdev.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/interface/hvm/dm_op.h>
#include <xen/interface/hvm/ioreq.h>
#include <xen/interface/memory.h>
#include <xen/interface/platform.h>
#include <xen/interface/xen.h>
#include <xen/mem-reservation.h>
#include <xen/page.h>
#include <xen/privcmd.h>
#include <xen/xen-ops.h>
#include <xen/xenbus.h>
#ifdef CONFIG_XEN_ACPI
#include <xen/acpi.h>
#endif

#include "helpers/helpers.h"

/* Macros that bindgen cannot evaluate: it strips the prefix. */
const fmode_t XEN_RUST_CONST_FMODE_NOWAIT = FMODE_NOWAIT;
const int XEN_RUST_CONST_IOCB_NOWAIT = IOCB_NOWAIT;
