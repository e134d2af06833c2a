/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Prototypes of the wrappers in this folder. Each does what the kernel's function of
 * the same name does, without the prefix.
 */
#ifndef _XEN_RUST_HELPERS_H
#define _XEN_RUST_HELPERS_H

#include "dma.h"
#include "domain.h"
#include "event.h"
#include "eventfd.h"
#include "foreign.h"
#include "grant.h"
#include "hotplug.h"
#include "hypercall.h"
#include "irq.h"
#include "latch.h"
#include "log.h"
#include "memory.h"
#include "mm.h"
#include "pages.h"
#include "percpu.h"
#include "store.h"
#include "symbols.h"
#include "sysfs.h"
#include "task.h"
#include "transfer.h"
#include "wait.h"
#include "work.h"

#endif
