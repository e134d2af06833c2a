/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

bool xen_rust_fatal_signal_pending(void);
void xen_rust_cond_resched(void);
