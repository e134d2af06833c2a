// SPDX-License-Identifier: GPL-2.0
#include <linux/percpu.h>
#include <asm/xen/hypercall.h>
#include <xen/interface/hvm/dm_op.h>
#include <xen/xen-ops.h>

/* @call has the number and its five arguments. Counts it in @count, which is per CPU. */
long xen_rust_privcmd_call(const u64 *call, u64 *count)
{
	long ret;

	this_cpu_inc(*(u64 __percpu *)(uintptr_t)count);
	xen_preemptible_hcall_begin();
	ret = FALLIBLE(privcmd_call(call[0], call[1], call[2], call[3], call[4], call[5]));
	xen_preemptible_hcall_end();
	return ret;
}

void xen_rust_preemptible_begin(void)
{
	xen_preemptible_hcall_begin();
}

void xen_rust_preemptible_end(void)
{
	xen_preemptible_hcall_end();
}

int xen_rust_memory_op(unsigned int cmd, void *arg)
{
	return FALLIBLE(HYPERVISOR_memory_op(cmd, arg));
}

int xen_rust_event_channel_op(int cmd, void *arg)
{
	if (cmd == EVTCHNOP_close || cmd == EVTCHNOP_send)
		return HYPERVISOR_event_channel_op(cmd, arg);
	return FALLIBLE(HYPERVISOR_event_channel_op(cmd, arg));
}

void xen_rust_dm_op_buf_set(struct xen_dm_op_buf *buf, unsigned long address,
			    unsigned long size)
{
	set_xen_guest_handle(buf->h, (void *)address);
	buf->size = size;
}

int xen_rust_dm_op(u16 domid, unsigned int nr, const struct xen_dm_op_buf *bufs)
{
	return FALLIBLE(HYPERVISOR_dm_op(domid, nr, (struct xen_dm_op_buf *)bufs));
}
