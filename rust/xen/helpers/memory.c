// SPDX-License-Identifier: GPL-2.0
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/version.h>
#include <linux/vmstat.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/balloon.h>
#include <xen/interface/memory.h>
#include <xen/mem-reservation.h>
#include <xen/page.h>
#include <xen/xen.h>

/* Memory to give away is taken where it is spare: not from reserves, and killing nobody. */
#define BALLOON_GFP (GFP_HIGHUSER | __GFP_NOWARN | __GFP_NORETRY | __GFP_NOMEMALLOC)

/* 2^@order adjoining pages, each on its own, if that needs no reclaim. */
struct page *xen_rust_balloon_alloc_block(unsigned int order, bool zero)
{
	struct page *page = alloc_pages((BALLOON_GFP & ~__GFP_DIRECT_RECLAIM) |
					(zero ? __GFP_ZERO : 0), order);

	if (page)
		split_page(page, order);
	return page;
}

unsigned long xen_rust_balloon_alloc_pages(unsigned long count, struct page **pages, bool zero)
{
	return alloc_pages_bulk(BALLOON_GFP | (zero ? __GFP_ZERO : 0), count, pages);
}

void xen_rust_balloon_free_page(struct page *page)
{
	/* Pages that have been in the balloon since boot are reserved. */
	ClearPageReserved(page);
	__free_page(page);
}

/* Unlike the above this also counts the pages as the zone's own again. */
void xen_rust_balloon_free_block(struct page *page, unsigned int order)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 3, 0)
	free_reserved_pages(page, order);
#else
	unsigned long i;

	for (i = 0; i < 1UL << order; i++)
		free_reserved_page(page + i);
#endif
}

void xen_rust_balloon_mark(struct page *page, unsigned long count)
{
	for (; count; count--, page++)
		__SetPageOffline(page);
}

void xen_rust_balloon_unmark(struct page *page, unsigned long count)
{
	for (; count; count--, page++)
		__ClearPageOffline(page);
}

bool xen_rust_same_zone(const struct page *a, const struct page *b)
{
	return page_zone(a) == page_zone(b);
}

/* Counts @count more pages, of @page's zone, as being in the balloon. */
void xen_rust_balloon_count(struct page *page, long count)
{
	mod_node_page_state(page_pgdat(page), NR_BALLOON_PAGES, count);
}

struct page *xen_rust_page_link(const struct page *page)
{
	return (struct page *)page_private(page);
}

void xen_rust_set_page_link(struct page *page, struct page *next)
{
	set_page_private(page, (unsigned long)next);
}

#ifdef CONFIG_XEN_HAVE_PVMMU

/* Entries that a hypercall changes; they are on the stack. */
#define ENTRIES 64

/* Where the kernel's mapping of pages is, to Xen. */
struct place {
	unsigned long pfn;
	pte_t *pte;
	u64 machine;
};

/* Goes on to @pfn, which most often is the next one, with its entry beside the last. */
static bool find_place(struct place *place, unsigned long pfn)
{
	unsigned int level;

	if (place->pte && pfn == place->pfn + 1 && !PAGE_ALIGNED(place->pte + 1)) {
		place->pte++;
		place->machine += sizeof(*place->pte);
	} else {
		place->pte = lookup_address((unsigned long)__va(PFN_PHYS(pfn)), &level);
		if (!place->pte || level != PG_LEVEL_4K) {
			place->pte = NULL;
			return false;
		}
		place->machine = arbitrary_virt_to_machine(place->pte).maddr;
	}
	place->pfn = pfn;
	return true;
}

/* Notes which frame is behind a page. */
static void set_frame(unsigned long pfn, unsigned long frame)
{
	if (likely(!xen_safe_write_ulong(xen_p2m_addr + pfn, frame)))
		return;
	/* A part of the list that says of all its pages that there is none cannot be written to. */
	if (frame != INVALID_P2M_ENTRY && !xen_alloc_p2m_entry(pfn))
		xen_safe_write_ulong(xen_p2m_addr + pfn, frame);
}

/*
 * Takes pages out of the kernel's address space, or puts them there with new
 * frames. Other than the kernel's functions, which are left with what cannot be
 * done so, this does not make a hypercall for each.
 */
static void va_mapping_set(unsigned long count, struct page **pages, xen_pfn_t *frames)
{
	struct mmu_update updates[ENTRIES];
	struct place place = {};
	unsigned long done = 0;

	while (done < count) {
		unsigned int n, most = min(count - done, (unsigned long)ENTRIES);
		int changed = 0;

		for (n = 0; n < most; n++) {
			unsigned long pfn = page_to_pfn(pages[done + n]);

			if (!find_place(&place, pfn))
				break;
			updates[n].ptr = place.machine | MMU_NORMAL_PT_UPDATE;
			updates[n].val = 0;
			if (!frames)
				continue;
			set_frame(pfn, frames[done + n]);
			updates[n].val = mfn_pte(frames[done + n], PAGE_KERNEL).pte;
		}
		if (n && HYPERVISOR_mmu_update(updates, n, &changed, DOMID_SELF))
			n = min_t(unsigned int, n, max(changed, 0));
		if (!frames) {
			unsigned int i;

			for (i = 0; i < n; i++)
				set_frame(page_to_pfn(pages[done + i]), INVALID_P2M_ENTRY);
		}
		done += n;
		if (n == most)
			continue;
		if (frames)
			__xenmem_reservation_va_mapping_update(1, &pages[done], &frames[done]);
		else
			__xenmem_reservation_va_mapping_reset(1, &pages[done]);
		place.pte = NULL;
		done++;
	}
}

#endif

void xen_rust_va_mapping_reset(unsigned long count, struct page **pages)
{
#ifdef CONFIG_XEN_HAVE_PVMMU
	if (xen_pv_domain())
		va_mapping_set(count, pages, NULL);
#endif
}

void xen_rust_va_mapping_update(unsigned long count, struct page **pages, xen_pfn_t *frames)
{
#ifdef CONFIG_XEN_HAVE_PVMMU
	if (xen_pv_domain())
		va_mapping_set(count, pages, frames);
#endif
}

/* flush_tlb_all() of a paravirtual domain; the kernel's own is not for modules. */
void xen_rust_pv_flush_tlb_all(void)
{
#ifdef CONFIG_XEN_HAVE_PVMMU
	struct mmuext_op op = { .cmd = MMUEXT_TLB_FLUSH_ALL };

	HYPERVISOR_mmuext_op(&op, 1, NULL, DOMID_SELF);
#endif
}

static int reserve(unsigned int op, xen_pfn_t *frames, unsigned long count, unsigned int order)
{
	struct xen_memory_reservation reservation = {
		.nr_extents = count,
		.extent_order = order,
		.domid = DOMID_SELF,
	};

	set_xen_guest_handle(reservation.extent_start, frames);
	return HYPERVISOR_memory_op(op, &reservation);
}

int xen_rust_populate(xen_pfn_t *frames, unsigned long count, unsigned int order)
{
	return FALLIBLE(reserve(XENMEM_populate_physmap, frames, count, order));
}

int xen_rust_decrease(xen_pfn_t *frames, unsigned long count, unsigned int order)
{
	return reserve(XENMEM_decrease_reservation, frames, count, order);
}

/* The memory map that the domain was started with: at most *@count ranges, and then how many. */
int xen_rust_memory_map(void *ranges, unsigned int *count)
{
	struct xen_memory_map map = { .nr_entries = *count };
	int err;

	set_xen_guest_handle(map.buffer, ranges);
	err = FALLIBLE(HYPERVISOR_memory_op(XENMEM_memory_map, &map));
	*count = map.nr_entries;
	return err;
}

/*
 * Both figures change together, so that the kernel's own balloon thread finds
 * nothing to do. It does not look under a lock that we could take; if it looks in
 * between, it had better see pages missing than pages too many.
 */
void xen_rust_balloon_moved(long pages)
{
	unsigned long flags;

	local_irq_save(flags);
	if (pages < 0)
		WRITE_ONCE(balloon_stats.current_pages, balloon_stats.current_pages + pages);
	WRITE_ONCE(balloon_stats.target_pages, balloon_stats.target_pages + pages);
	if (pages > 0)
		WRITE_ONCE(balloon_stats.current_pages, balloon_stats.current_pages + pages);
	local_irq_restore(flags);
}

/* Takes part in the kernel's count of pages that it has lent out. */
void xen_rust_balloon_unpopulated(long pages)
{
	unsigned long flags;

	local_irq_save(flags);
	WRITE_ONCE(balloon_stats.target_unpopulated, balloon_stats.target_unpopulated + pages);
	local_irq_restore(flags);
}
