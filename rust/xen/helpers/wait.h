/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct wait_queue_head;

bool xen_rust_wq_has_sleeper(struct wait_queue_head *wq);
bool xen_rust_wq_unused(struct wait_queue_head *wq);
void xen_rust_wake_up_poll(struct wait_queue_head *wq, u32 events);
void xen_rust_current_comm(char *name, size_t len);
