// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps the first CPU busy in the handler of an event until it is told to go on: what arrives
 * meanwhile is dealt with after that, without a break.
 *
 * There are two such events, so that the CPU can be held again as soon as it has dealt with what
 * came while the first one held it. Writing one's number to the parameter "hold" sends it, to
 * "release" ends it; it ends by itself before anyone takes the CPU for dead.
 */
#include <linux/cpumask.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched/clock.h>
#include <linux/time64.h>
#include <xen/events.h>
#include <xen/interface/event_channel.h>
#include <xen/xen.h>
#include <asm/xen/hypercall.h>

#define HOLDS 2
#define LONGEST (3 * NSEC_PER_SEC)

struct hold {
	evtchn_port_t sender;
	int irq;
	bool released;
};

static struct hold holds[HOLDS];

static uint hz = HZ;
module_param(hz, uint, 0400);
MODULE_PARM_DESC(hz, "Jiffies in a second");

static irqreturn_t hold_cpu(int irq, void *data)
{
	struct hold *hold = data;
	u64 end = local_clock() + LONGEST;

	while (!smp_load_acquire(&hold->released) && local_clock() < end)
		cpu_relax();
	return IRQ_HANDLED;
}

static struct hold *named(const char *text)
{
	unsigned int number;
	int err;

	err = kstrtouint(text, 0, &number);
	if (err)
		return ERR_PTR(err);
	/* Parameters can be given before there is anything. */
	if (number >= HOLDS || holds[number].irq <= 0)
		return ERR_PTR(-EINVAL);
	return &holds[number];
}

static int begin(const char *text, const struct kernel_param *param)
{
	struct hold *hold = named(text);

	if (IS_ERR(hold))
		return PTR_ERR(hold);
	smp_store_release(&hold->released, false);
	notify_remote_via_evtchn(hold->sender);
	return 0;
}

static int release(const char *text, const struct kernel_param *param)
{
	struct hold *hold = named(text);

	if (IS_ERR(hold))
		return PTR_ERR(hold);
	smp_store_release(&hold->released, true);
	return 0;
}

static const struct kernel_param_ops begin_ops = { .set = begin };
static const struct kernel_param_ops release_ops = { .set = release };

module_param_cb(hold, &begin_ops, NULL, 0200);
MODULE_PARM_DESC(hold, "Begins the hold of this number");
module_param_cb(release, &release_ops, NULL, 0200);
MODULE_PARM_DESC(release, "Ends it");

static void close_port(evtchn_port_t port)
{
	struct evtchn_close close = { .port = port };

	(void)HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
}

static void take_down(struct hold *hold)
{
	if (hold->irq > 0) {
		smp_store_release(&hold->released, true);
		unbind_from_irqhandler(hold->irq, hold);
		hold->irq = 0;
	}
	if (hold->sender)
		close_port(hold->sender);
	hold->sender = 0;
}

static int set_up(struct hold *hold)
{
	struct evtchn_alloc_unbound alloc = {
		.dom = DOMID_SELF,
		.remote_dom = DOMID_SELF,
	};
	struct evtchn_bind_interdomain bind = { .remote_dom = DOMID_SELF };
	int err;

	err = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
	if (err)
		return err;
	hold->sender = alloc.port;

	bind.remote_port = alloc.port;
	err = HYPERVISOR_event_channel_op(EVTCHNOP_bind_interdomain, &bind);
	if (err)
		return err;

	/* It begins pending. */
	hold->released = true;
	hold->irq = bind_evtchn_to_irqhandler(bind.local_port, hold_cpu, 0, "xen-busy", hold);
	if (hold->irq < 0) {
		close_port(bind.local_port);
		return hold->irq;
	}
	return irq_set_affinity(hold->irq, cpumask_of(0));
}

static void busy_down(void)
{
	int i;

	for (i = 0; i < HOLDS; i++)
		take_down(&holds[i]);
}

static int __init busy_init(void)
{
	int i, err;

	if (!xen_domain())
		return -ENODEV;
	for (i = 0; i < HOLDS; i++) {
		err = set_up(&holds[i]);
		if (err) {
			busy_down();
			return err;
		}
	}
	return 0;
}
module_init(busy_init);

static void __exit busy_exit(void)
{
	busy_down();
}
module_exit(busy_exit);

MODULE_DESCRIPTION("Keeps a CPU busy");
MODULE_LICENSE("GPL");
