// SPDX-License-Identifier: GPL-2.0
/*
 * C for what has no Rust form: inline functions and macros of the kernel, one
 * wrapper each, grouped by the part of the library that calls them.
 */
#include <linux/module.h>

#include "helpers/helpers.h"
#include "helpers/faults.h"

#include "helpers/dma.c"
#include "helpers/domain.c"
#include "helpers/event.c"
#include "helpers/eventfd.c"
#include "helpers/foreign.c"
#include "helpers/grant.c"
#include "helpers/hotplug.c"
#include "helpers/hypercall.c"
#include "helpers/irq.c"
#include "helpers/latch.c"
#include "helpers/log.c"
#include "helpers/memory.c"
#include "helpers/mm.c"
#include "helpers/pages.c"
#include "helpers/percpu.c"
#include "helpers/store.c"
#include "helpers/symbols.c"
#include "helpers/sysfs.c"
#include "helpers/task.c"
#include "helpers/transfer.c"
#include "helpers/wait.c"
#include "helpers/work.c"

/* Every module links this: it is what tells ours from the kernel's own of the same name. */
MODULE_INFO(version, XEN_RUST_VERSION);
