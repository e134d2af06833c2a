// SPDX-License-Identifier: GPL-2.0
#include <linux/wait_bit.h>

void xen_rust_latch_open(u32 *latch)
{
	store_release_wake_up(latch, 1);
}

int xen_rust_latch_wait(u32 *latch)
{
	return wait_var_event_interruptible(latch, smp_load_acquire(latch));
}

int xen_rust_latch_wait_killable(u32 *latch)
{
	return wait_var_event_killable(latch, smp_load_acquire(latch));
}
