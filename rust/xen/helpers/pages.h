/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct page;

unsigned long xen_rust_page_to_pfn(const struct page *page);
int xen_rust_page_count(const struct page *page);
bool xen_rust_page_mapped(const struct page *page);
int xen_rust_alloc_unpopulated_pages(unsigned int nr_pages, struct page **pages);
void xen_rust_free_unpopulated_pages(unsigned int nr_pages, struct page **pages);
