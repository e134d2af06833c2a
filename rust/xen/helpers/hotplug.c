// SPDX-License-Identifier: GPL-2.0
#include <linux/ioport.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/interface/memory.h>
#include <xen/xen.h>

/* How many pages Xen lets this domain have; 0 if it does not tell. */
unsigned long xen_rust_maximum_reservation(void)
{
	domid_t domid = DOMID_SELF;
	long pages = HYPERVISOR_memory_op(XENMEM_maximum_reservation, &domid);

	return pages < 0 ? 0 : pages;
}

/* Pages that come online are marked as offline already, where the kernel does so. */
void xen_rust_balloon_mark_online(struct page *page, unsigned long count)
{
	for (; count; count--, page++)
		if (!PageOffline(page))
			__SetPageOffline(page);
}

#ifdef CONFIG_MEMORY_HOTPLUG

/* The unit in which memory is added, brought online and removed. */
unsigned long xen_rust_hotplug_block_pages(void)
{
	return memory_block_size_bytes() >> PAGE_SHIFT;
}

/* Where there is room for a block. Others may find the same; who comes second is refused. */
int xen_rust_hotplug_place(unsigned long *pfn)
{
	struct resource place = {
		.name = "Xen balloon",
		.flags = IORESOURCE_SYSTEM_RAM | IORESOURCE_BUSY,
	};
	u64 size = memory_block_size_bytes();
	u64 end = BIT_ULL(MAX_PHYSMEM_BITS) - 1;
	int err;

#ifdef CONFIG_XEN_HAVE_PVMMU
	/* What lies above has no place in the list of the frames behind pages. */
	if (xen_pv_domain())
		end = min(end, ((u64)xen_p2m_size << PAGE_SHIFT) - 1);
#endif
	err = allocate_resource(&iomem_resource, &place, size, 0, end, size, NULL, NULL);
	if (err)
		return err;
	*pfn = place.start >> PAGE_SHIFT;
	release_resource(&place);
	return 0;
}

/* Notes for a paravirtual domain that there are no frames behind these pages. */
static int vacate(unsigned long pfn, unsigned long count)
{
#ifdef CONFIG_XEN_HAVE_PVMMU
	unsigned long end = pfn + count;

	if (!xen_pv_domain())
		return 0;
	for (; pfn < end; pfn++) {
		if (!(pfn % (PAGE_SIZE / sizeof(unsigned long)))) {
			int err = xen_alloc_p2m_entry(pfn);

			if (err)
				return err;
		}
		if (xen_safe_write_ulong(xen_p2m_addr + pfn, INVALID_P2M_ENTRY))
			return -EFAULT;
	}
#endif
	return 0;
}

/* Adds a block without memory behind it. */
int xen_rust_hotplug_add(unsigned long pfn)
{
	u64 start = (u64)pfn << PAGE_SHIFT;
	u64 size = memory_block_size_bytes();
	int err = vacate(pfn, size >> PAGE_SHIFT);
	char *name;

	if (err)
		return err;
	/* The kernel goes on using it for the block, which stays when this module goes. */
	name = kstrdup("System RAM (xen)", GFP_KERNEL);
	if (!name)
		return -ENOMEM;
	err = add_memory_driver_managed(memory_add_physaddr_to_nid(start), start, size, name,
					MHP_NONE);
	if (err)
		kfree(name);
	return err;
}

int xen_rust_hotplug_begin(void (*online)(struct page *page, unsigned int order))
{
	return set_online_page_callback(online);
}

void xen_rust_hotplug_end(void (*online)(struct page *page, unsigned int order))
{
	restore_online_page_callback(online);
}

void xen_rust_generic_online_page(struct page *page, unsigned int order)
{
	generic_online_page(page, order);
}

#else

unsigned long xen_rust_hotplug_block_pages(void)
{
	return 0;
}

int xen_rust_hotplug_place(unsigned long *pfn)
{
	return -EOPNOTSUPP;
}

int xen_rust_hotplug_add(unsigned long pfn)
{
	return -EOPNOTSUPP;
}

int xen_rust_hotplug_begin(void (*online)(struct page *page, unsigned int order))
{
	return -EOPNOTSUPP;
}

void xen_rust_hotplug_end(void (*online)(struct page *page, unsigned int order))
{
}

void xen_rust_generic_online_page(struct page *page, unsigned int order)
{
}

#endif
