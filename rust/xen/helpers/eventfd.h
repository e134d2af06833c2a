/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/poll.h>
#include <linux/wait.h>

struct eventfd_ctx;
struct file;

struct xen_rust_eventfd_watch {
	wait_queue_entry_t wait;
	poll_table table;
	wait_queue_head_t *head;
	int error;
};

int xen_rust_eventfd_watch(struct xen_rust_eventfd_watch *watch, struct file *file,
			   wait_queue_func_t func);
