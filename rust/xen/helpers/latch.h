/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

void xen_rust_latch_open(u32 *latch);
int xen_rust_latch_wait(u32 *latch);
int xen_rust_gate_wait(u32 *gate);
