// SPDX-License-Identifier: GPL-2.0
/*
 * Stands in for pciback, which tells the GSIs of the devices that it has taken for guests. The
 * kernels that are tested have no pciback, nor devices to give away.
 */
#include <linux/errno.h>
#include <linux/module.h>
#include <xen/acpi.h>
#include <xen/xen.h>

/* Segment 1, bus 2, device 3, function 4; the one that ACPI has nothing on is function 5. */
#define KNOWN 0x0001021c
#define WITHOUT 0x0001021d
#define GSI 23

static int gsi_of(u32 sbdf)
{
	switch (sbdf) {
	case KNOWN:
		return GSI;
	case WITHOUT:
		return -1;
	default:
		return -ENODEV;
	}
}

static int __init gsi_init(void)
{
	if (!xen_initial_domain())
		return -ENODEV;
	xen_acpi_register_get_gsi_func(gsi_of);
	return 0;
}
module_init(gsi_init);

static void __exit gsi_exit(void)
{
	/* Waits for those who ask. */
	xen_acpi_register_get_gsi_func(NULL);
}
module_exit(gsi_exit);

MODULE_DESCRIPTION("The GSIs of devices that do not exist");
MODULE_LICENSE("GPL");
