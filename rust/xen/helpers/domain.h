/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

bool xen_rust_domain(void);
bool xen_rust_pv_domain(void);
bool xen_rust_initial_domain(void);
int xen_rust_gsi_from_sbdf(u32 sbdf);
