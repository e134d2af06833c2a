/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

unsigned long xen_rust_addr_to_pfn(const void *addr);
