/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

long xen_rust_privcmd_call(const u64 *call, u64 *count);
void xen_rust_preemptible_begin(void);
void xen_rust_preemptible_end(void);
int xen_rust_memory_op(unsigned int cmd, void *arg);
int xen_rust_event_channel_op(int cmd, void *arg);
struct xen_dm_op_buf;
void xen_rust_dm_op_buf_set(struct xen_dm_op_buf *buf, unsigned long address,
			    unsigned long size);
int xen_rust_dm_op(u16 domid, unsigned int nr, const struct xen_dm_op_buf *bufs);
