// SPDX-License-Identifier: GPL-2.0
#include <linux/atomic.h>
#include <linux/wait_bit.h>

void xen_rust_latch_open(u32 *latch)
{
	store_release_wake_up(latch, 1);
}

int xen_rust_latch_wait(u32 *latch)
{
	return wait_var_event_interruptible(latch, smp_load_acquire(latch));
}

/* 0: closed, 1: open, 2: closed, and somebody waits. */
static bool gate_is_open(u32 *gate)
{
	if (smp_load_acquire(gate) == 1)
		return true;
	cmpxchg(gate, 0, 2);
	return smp_load_acquire(gate) == 1;
}

int xen_rust_gate_wait(u32 *gate)
{
	return wait_var_event_killable(gate, gate_is_open(gate));
}
