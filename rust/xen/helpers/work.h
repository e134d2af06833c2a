/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/workqueue.h>

void xen_rust_init_delayed_work(struct delayed_work *work, void (*run)(struct work_struct *work));
struct workqueue_struct *xen_rust_alloc_freezable_queue(const char *name);
