// SPDX-License-Identifier: GPL-2.0
#include <xen/xen.h>
#ifdef CONFIG_XEN_ACPI
#include <xen/acpi.h>
#endif

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

int xen_rust_gsi_from_sbdf(u32 sbdf)
{
#ifdef CONFIG_XEN_ACPI
	return xen_acpi_get_gsi_from_sbdf(sbdf);
#else
	return -EINVAL;
#endif
}
