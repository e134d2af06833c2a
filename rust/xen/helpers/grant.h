/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct gnttab_map_grant_ref;
struct page;

int xen_rust_grant_table_op(unsigned int cmd, void *uop, unsigned int count);
int xen_rust_map_refs(struct gnttab_map_grant_ref *ops, struct gnttab_map_grant_ref *kernel_ops,
		      struct page **pages, unsigned int count);
u64 xen_rust_grant_host_addr(struct page *page);
void xen_rust_clear_page_foreign(struct page *page);
void xen_rust_clear_page_private(struct page *page);
void xen_rust_clear_page_byte(struct page *page, unsigned int offset);
unsigned long xen_rust_pfn_to_gfn(unsigned long pfn);
unsigned long xen_rust_bfn_to_gfn(unsigned long bfn);
