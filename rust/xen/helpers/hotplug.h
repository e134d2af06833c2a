/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct page;

unsigned long xen_rust_hotplug_block_pages(void);
unsigned long xen_rust_maximum_reservation(void);
int xen_rust_hotplug_place(unsigned long *pfn);
int xen_rust_hotplug_add(unsigned long pfn);
int xen_rust_hotplug_begin(void (*online)(struct page *page, unsigned int order));
void xen_rust_hotplug_end(void (*online)(struct page *page, unsigned int order));
void xen_rust_generic_online_page(struct page *page, unsigned int order);
void xen_rust_balloon_mark_online(struct page *page, unsigned long count);
