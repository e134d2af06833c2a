// SPDX-License-Identifier: GPL-2.0
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/spinlock.h>

unsigned long xen_rust_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

void xen_rust_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

/*
 * Whether there is more than one handler. To be called by one of them: as the kernel
 * does while it goes through them, this looks at the list without a lock.
 */
bool xen_rust_irq_is_shared(unsigned int irq)
{
	struct irq_data *data = irq_get_irq_data(irq);
	struct irqaction *first;

	if (!data)
		return false;
	first = READ_ONCE(irq_data_to_desc(data)->action);
	return first && READ_ONCE(first->next);
}
