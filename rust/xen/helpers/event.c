// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <xen/events.h>
#include <xen/xen-ops.h>

int xen_rust_request_irq(unsigned int irq, irq_handler_t handler, const char *name, void *data)
{
	return request_irq(irq, handler, IRQF_SHARED, name, data);
}

unsigned int xen_rust_vcpu_nr(unsigned int cpu)
{
	return xen_vcpu_nr(cpu);
}

/* The CPU that Xen knows as @vcpu, or -1. */
int xen_rust_cpu_of_vcpu(unsigned int vcpu)
{
	unsigned int cpu;

	for_each_online_cpu(cpu)
		if (xen_vcpu_nr(cpu) == vcpu)
			return cpu;
	return -1;
}

int xen_rust_irq_set_cpu(unsigned int irq, unsigned int cpu)
{
	return irq_set_affinity(irq, cpumask_of(cpu));
}

void xen_rust_notify(unsigned int port)
{
	notify_remote_via_evtchn(port);
}
