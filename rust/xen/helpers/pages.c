// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <xen/xen.h>

unsigned long xen_rust_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

int xen_rust_page_count(const struct page *page)
{
	return page_count(page);
}

bool xen_rust_page_mapped(const struct page *page)
{
	return folio_mapped(page_folio(page));
}

int xen_rust_alloc_unpopulated_pages(unsigned int nr_pages, struct page **pages)
{
	return xen_alloc_unpopulated_pages(nr_pages, pages);
}

void xen_rust_free_unpopulated_pages(unsigned int nr_pages, struct page **pages)
{
	xen_free_unpopulated_pages(nr_pages, pages);
}
