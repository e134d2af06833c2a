// SPDX-License-Identifier: GPL-2.0
#include <linux/highmem.h>
#include <linux/mm.h>
#include <asm/xen/hypercall.h>
#include <xen/grant_table.h>
#include <xen/page.h>

int xen_rust_grant_table_op(unsigned int cmd, void *uop, unsigned int count)
{
	if (cmd == GNTTABOP_unmap_grant_ref)
		return HYPERVISOR_grant_table_op(cmd, uop, count);
	return FALLIBLE(HYPERVISOR_grant_table_op(cmd, uop, count));
}

/* Each grant can fail for itself: Xen refuses a reference that nobody has. */
int xen_rust_map_refs(struct gnttab_map_grant_ref *ops, struct gnttab_map_grant_ref *kernel_ops,
		      struct page **pages, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (xen_rust_fails())
			ops[i].ref = ~0U;
		if (kernel_ops && xen_rust_fails())
			kernel_ops[i].ref = ~0U;
	}
	return gnttab_map_refs(ops, kernel_ops, pages, count);
}

/* Where the kernel itself sees the page, as gnttab_set_map_op() tells Xen. */
u64 xen_rust_grant_host_addr(struct page *page)
{
	struct gnttab_map_grant_ref op;

	gnttab_set_map_op(&op, (unsigned long)pfn_to_kaddr(page_to_pfn(page)),
			  GNTMAP_host_map, 0, 0);
	return op.host_addr;
}

void xen_rust_clear_page_foreign(struct page *page)
{
	ClearPageForeign(page);
}

/* The kernel's own way to give DMA memory back leaves what the page said of its grant. */
void xen_rust_clear_page_private(struct page *page)
{
	set_page_private(page, 0);
}

void xen_rust_clear_page_byte(struct page *page, unsigned int offset)
{
	u8 *at = kmap_local_page(page);

	WRITE_ONCE(at[offset & ~PAGE_MASK], 0);
	kunmap_local(at);
}

unsigned long xen_rust_pfn_to_gfn(unsigned long pfn)
{
	return pfn_to_gfn(pfn);
}

unsigned long xen_rust_bfn_to_gfn(unsigned long bfn)
{
	return pfn_to_gfn(bfn_to_pfn(bfn));
}
