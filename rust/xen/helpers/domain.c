// SPDX-License-Identifier: GPL-2.0
#include <xen/xen.h>

bool xen_rust_domain(void)
{
	return xen_domain();
}

bool xen_rust_pv_domain(void)
{
	return xen_pv_domain();
}

bool xen_rust_initial_domain(void)
{
	return xen_initial_domain();
}
