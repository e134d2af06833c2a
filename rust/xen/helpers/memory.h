/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>
#include <xen/interface/xen.h>

struct page;

struct page *xen_rust_balloon_alloc_block(unsigned int order, bool zero);
unsigned long xen_rust_balloon_alloc_pages(unsigned long count, struct page **pages, bool zero);
void xen_rust_balloon_free_page(struct page *page);
void xen_rust_balloon_free_block(struct page *page, unsigned int order);
void xen_rust_balloon_mark(struct page *page, unsigned long count);
void xen_rust_balloon_unmark(struct page *page, unsigned long count);
bool xen_rust_same_zone(const struct page *a, const struct page *b);
void xen_rust_balloon_count(struct page *page, long count);
struct page *xen_rust_page_link(const struct page *page);
void xen_rust_set_page_link(struct page *page, struct page *next);
void xen_rust_va_mapping_reset(unsigned long count, struct page **pages);
void xen_rust_va_mapping_update(unsigned long count, struct page **pages, xen_pfn_t *frames);
void xen_rust_pv_flush_tlb_all(void);
int xen_rust_populate(xen_pfn_t *frames, unsigned long count, unsigned int order);
int xen_rust_decrease(xen_pfn_t *frames, unsigned long count, unsigned int order);
int xen_rust_memory_map(void *ranges, unsigned int *count);
void xen_rust_balloon_moved(long pages);
void xen_rust_balloon_unpopulated(long pages);
