// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/percpu.h>

/* Rust knows no address spaces: slots are per-CPU addresses. */

void xen_rust_percpu_inc(u64 *slot)
{
	this_cpu_inc(*(u64 __percpu *)(uintptr_t)slot);
}

u64 xen_rust_percpu_sum(u64 *slot)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr((u64 __percpu *)(uintptr_t)slot, cpu);
	return sum;
}
