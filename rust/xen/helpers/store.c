// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include <xen/page.h>

/* The frame behind an address of the kernel, in the linear mapping or not. */
unsigned long xen_rust_addr_to_pfn(const void *addr)
{
	if (is_vmalloc_addr(addr))
		return vmalloc_to_pfn(addr);
	return virt_to_pfn(addr);
}
