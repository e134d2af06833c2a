/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/spinlock_types.h>
#include <linux/types.h>

unsigned long xen_rust_spin_lock_irqsave(spinlock_t *lock);
void xen_rust_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
bool xen_rust_irq_is_shared(unsigned int irq);
