// SPDX-License-Identifier: GPL-2.0
#include <asm/xen/hypercall.h>
#include <xen/interface/platform.h>

/*
 * XENPF_get_symbol: @number in and out, @len the room at @name in and the
 * length that the name needs out. Guest handles are set by macros.
 */
int xen_rust_get_symbol(u32 *number, u64 *address, char *type, char *name, u32 *len)
{
	struct xen_platform_op op = {
		.cmd = XENPF_get_symbol,
		.u.symdata.symnum = *number,
		.u.symdata.namelen = *len,
	};
	int ret;

	set_xen_guest_handle(op.u.symdata.name, name);
	ret = FALLIBLE(HYPERVISOR_platform_op(&op));
	if (ret < 0)
		return ret;

	*number = op.u.symdata.symnum;
	*address = op.u.symdata.address;
	*type = op.u.symdata.type;
	*len = op.u.symdata.namelen;
	return 0;
}
