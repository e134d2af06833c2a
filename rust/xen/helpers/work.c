// SPDX-License-Identifier: GPL-2.0
#include <linux/workqueue.h>

void xen_rust_init_delayed_work(struct delayed_work *work, void (*run)(struct work_struct *work))
{
	INIT_DELAYED_WORK(work, run);
}

struct workqueue_struct *xen_rust_alloc_freezable_queue(const char *name)
{
	return alloc_workqueue("%s", WQ_UNBOUND | WQ_FREEZABLE, 1, name);
}
