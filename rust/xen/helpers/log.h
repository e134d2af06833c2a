/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

bool xen_rust_may_log(void);
