// SPDX-License-Identifier: GPL-2.0
#include <linux/eventfd.h>
#include <linux/poll.h>
#include <linux/wait.h>

static void eventfd_watch_queue(struct file *file, wait_queue_head_t *head,
				poll_table *table)
{
	struct xen_rust_eventfd_watch *watch =
		container_of(table, struct xen_rust_eventfd_watch, table);

	/* Just one may take what the eventfd counts. */
	watch->error = add_wait_queue_priority_exclusive(head, &watch->wait);
	if (!watch->error)
		watch->head = head;
}

/*
 * Has @func called as a wait queue function with the eventfd's own lock held, whenever
 * it is signalled, hung up, or, once, if it has been signalled before.
 */
int xen_rust_eventfd_watch(struct xen_rust_eventfd_watch *watch, struct file *file,
			   wait_queue_func_t func)
{
	__poll_t events;
	unsigned long flags;

	init_waitqueue_func_entry(&watch->wait, func);
	init_poll_funcptr(&watch->table, eventfd_watch_queue);
	watch->head = NULL;
	watch->error = -EINVAL;

	events = vfs_poll(file, &watch->table);
	if (!watch->head)
		return watch->error;

	if (events & EPOLLIN) {
		spin_lock_irqsave(&watch->head->lock, flags);
		func(&watch->wait, TASK_NORMAL, 0, poll_to_key(EPOLLIN));
		spin_unlock_irqrestore(&watch->head->lock, flags);
	}
	return 0;
}
