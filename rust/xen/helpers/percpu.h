/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

void xen_rust_percpu_inc(u64 *slot);
u64 xen_rust_percpu_sum(u64 *slot);
