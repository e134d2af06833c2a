// SPDX-License-Identifier: GPL-2.0
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/wait.h>

bool xen_rust_wq_has_sleeper(struct wait_queue_head *wq)
{
	return wq_has_sleeper(wq);
}

/* Under the lock, so that who has just left the queue is done with it. */
bool xen_rust_wq_unused(struct wait_queue_head *wq)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&wq->lock, flags);
	unused = !waitqueue_active(wq);
	spin_unlock_irqrestore(&wq->lock, flags);
	return unused;
}

void xen_rust_wake_up_poll(struct wait_queue_head *wq, u32 events)
{
	wake_up_interruptible_poll(wq, (__force __poll_t)events);
}

void xen_rust_current_comm(char *name, size_t len)
{
	strscpy_pad(name, current->comm, len);
}
