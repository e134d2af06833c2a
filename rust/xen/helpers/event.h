/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/interrupt.h>

int xen_rust_request_irq(unsigned int irq, irq_handler_t handler, const char *name, void *data);
unsigned int xen_rust_vcpu_nr(unsigned int cpu);
int xen_rust_cpu_of_vcpu(unsigned int vcpu);
int xen_rust_irq_set_cpu(unsigned int irq, unsigned int cpu);
void xen_rust_notify(unsigned int port);
