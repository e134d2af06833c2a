/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

int xen_rust_get_symbol(u32 *number, u64 *address, char *type, char *name, u32 *len);
