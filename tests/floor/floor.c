// SPDX-License-Identifier: GPL-2.0
/*
 * What no driver can save: the hypercalls alone, made from inside the kernel with their arguments
 * ready. Reading debugfs' xen_floor measures; a line is a name, how many items a hypercall is for,
 * and the time stamp counter's ticks for an item in tenths.
 *
 * The parameters name a domain that has granted 512 frames to this one by consecutive references,
 * and the first of its frames, which are consecutive too.
 *
 * Besides, debugfs' xen_floor_balloon sets the target of the kernel's own balloon in KiB, as the C
 * driver's interface does where it is built in, and says how much the domain has.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/timex.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/balloon.h>
#include <xen/grant_table.h>
#include <xen/interface/event_channel.h>
#include <xen/interface/memory.h>
#include <xen/interface/version.h>
#include <xen/page.h>
#include <xen/xen.h>

#define MOST 512
#define SAMPLES 31

static ushort domid;
module_param(domid, ushort, 0400);
MODULE_PARM_DESC(domid, "The other domain");
static uint reference;
module_param(reference, uint, 0400);
MODULE_PARM_DESC(reference, "The first of 512 grants it has given to this domain");
static ulong frame;
module_param(frame, ulong, 0400);
MODULE_PARM_DESC(frame, "The first of 512 frames that it has");

static struct dentry *results, *balloon;

/* What the hypercalls work on. */
struct floor {
	struct page *pages[MOST];
	evtchn_port_t port;
	struct gnttab_map_grant_ref map[MOST];
	struct gnttab_unmap_grant_ref unmap[MOST];
	struct gnttab_copy copy[MOST];
	struct mmu_update update[MOST];
	pte_t *ptes[MOST];
	unsigned int pte_count;
	xen_ulong_t idxs[MOST];
	xen_pfn_t gpfns[MOST];
	int errs[MOST];
};

typedef int (*hypercall_t)(struct floor *floor, unsigned int count);

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 median(u64 *times)
{
	sort(times, SAMPLES, sizeof(*times), by_size, NULL);
	return times[SAMPLES / 2];
}

/* What reading the counter takes: much, where the hypervisor emulates it. */
static u64 overhead(void)
{
	u64 times[SAMPLES], start;
	unsigned int i;

	for (i = 0; i < SAMPLES; i++) {
		start = rdtsc();
		times[i] = rdtsc() - start;
	}
	return median(times);
}

static void print(struct seq_file *out, const char *name, unsigned int count, u64 *times)
{
	u64 time = median(times), reading = overhead();

	time -= min(time, reading);
	seq_printf(out, "%s %u %llu\n", name, count, div_u64(time * 10, count));
}

/* Makes a hypercall, and another that undoes it, and says what each takes. */
static int measure(struct seq_file *out, struct floor *floor, unsigned int count,
		   const char *name, hypercall_t call, const char *undo_name, hypercall_t undo)
{
	u64 times[SAMPLES], undo_times[SAMPLES], start;
	unsigned int i;
	int error;

	for (i = 0; i < SAMPLES; i++) {
		start = rdtsc();
		error = call(floor, count);
		times[i] = rdtsc() - start;
		if (error) {
			pr_info("%s of %u: %d\n", name, count, error);
			return error;
		}
		if (!undo)
			continue;
		start = rdtsc();
		error = undo(floor, count);
		undo_times[i] = rdtsc() - start;
		if (error) {
			pr_info("%s of %u: %d\n", undo_name, count, error);
			return error;
		}
	}
	print(out, name, count, times);
	if (undo)
		print(out, undo_name, count, undo_times);
	return 0;
}

static int null(struct floor *floor, unsigned int count)
{
	return HYPERVISOR_xen_version(XENVER_version, NULL) < 0;
}

static int bind(struct floor *floor, unsigned int count)
{
	struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = domid };
	int error = HYPERVISOR_event_channel_op(EVTCHNOP_alloc_unbound, &alloc);

	floor->port = alloc.port;
	return error;
}

static int close(struct floor *floor, unsigned int count)
{
	struct evtchn_close close = { .port = floor->port };

	return HYPERVISOR_event_channel_op(EVTCHNOP_close, &close);
}

static int send(struct floor *floor, unsigned int count)
{
	struct evtchn_send send = { .port = floor->port };

	return HYPERVISOR_event_channel_op(EVTCHNOP_send, &send);
}

static int unmask(struct floor *floor, unsigned int count)
{
	struct evtchn_unmask unmask = { .port = floor->port };

	return HYPERVISOR_event_channel_op(EVTCHNOP_unmask, &unmask);
}

static int map_grants(struct floor *floor, unsigned int count)
{
	return HYPERVISOR_grant_table_op(GNTTABOP_map_grant_ref, floor->map, count);
}

static int unmap_grants(struct floor *floor, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (floor->map[i].status != GNTST_okay)
			return floor->map[i].status;
		floor->unmap[i].handle = floor->map[i].handle;
	}
	return HYPERVISOR_grant_table_op(GNTTABOP_unmap_grant_ref, floor->unmap, count);
}

static int copy_grants(struct floor *floor, unsigned int count)
{
	return HYPERVISOR_grant_table_op(GNTTABOP_copy, floor->copy, count);
}

static int map_frames_pv(struct floor *floor, unsigned int count)
{
	unsigned int i;
	int done;

	for (i = 0; i < count; i++)
		floor->update[i].val = ((u64)(frame + i) << PAGE_SHIFT) |
				       _PAGE_PRESENT | _PAGE_RW | _PAGE_USER;
	return HYPERVISOR_mmu_update(floor->update, count, &done, domid);
}

static int unmap_frames_pv(struct floor *floor, unsigned int count)
{
	unsigned int i;
	int done;

	for (i = 0; i < count; i++)
		floor->update[i].val = 0;
	return HYPERVISOR_mmu_update(floor->update, count, &done, DOMID_SELF);
}

static int map_frames_translated(struct floor *floor, unsigned int count)
{
	struct xen_add_to_physmap_range range = {
		.domid = DOMID_SELF,
		.foreign_domid = domid,
		.space = XENMAPSPACE_gmfn_foreign,
		.size = count,
	};

	set_xen_guest_handle(range.idxs, floor->idxs);
	set_xen_guest_handle(range.gpfns, floor->gpfns);
	set_xen_guest_handle(range.errs, floor->errs);
	return HYPERVISOR_memory_op(XENMEM_add_to_physmap_range, &range);
}

static int unmap_frames_translated(struct floor *floor, unsigned int count)
{
	struct xen_remove_from_physmap remove = { .domid = DOMID_SELF };
	unsigned int i;
	int error = 0;

	for (i = 0; i < count && !error; i++) {
		remove.gpfn = floor->gpfns[i];
		error = HYPERVISOR_memory_op(XENMEM_remove_from_physmap, &remove);
	}
	return error;
}

static void event_channels(struct seq_file *out, struct floor *floor)
{
	measure(out, floor, 1, "evtchn_bind", bind, "evtchn_close", close);
	if (bind(floor, 1))
		return;
	measure(out, floor, 1, "evtchn_send", send, NULL, NULL);
	measure(out, floor, 1, "evtchn_unmask", unmask, NULL, NULL);
	close(floor, 1);
}

static void grant_mapping(struct seq_file *out, struct floor *floor)
{
	static const unsigned int counts[] = { 1, 16, 256 };
	unsigned int i;

	if (gnttab_alloc_pages(MOST, floor->pages))
		return;
	for (i = 0; i < MOST; i++) {
		unsigned long addr = (unsigned long)pfn_to_kaddr(page_to_pfn(floor->pages[i]));

		gnttab_set_map_op(&floor->map[i], addr, GNTMAP_host_map, reference + i, domid);
		gnttab_set_unmap_op(&floor->unmap[i], addr, GNTMAP_host_map, 0);
	}
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		if (measure(out, floor, counts[i], "grant_map", map_grants,
			    "grant_unmap", unmap_grants))
			break;
	gnttab_free_pages(MOST, floor->pages);
}

static void grant_copying(struct seq_file *out, struct floor *floor)
{
	static const unsigned int counts[] = { 1, 16, 64, 512 };
	unsigned int i, n;

	for (n = 0; n < MOST; n++) {
		floor->pages[n] = alloc_page(GFP_KERNEL);
		if (!floor->pages[n])
			goto free;
		floor->copy[n] = (struct gnttab_copy) {
			.source.u.gmfn = xen_page_to_gfn(floor->pages[n]),
			.source.domid = DOMID_SELF,
			.dest.u.ref = reference + n,
			.dest.domid = domid,
			.len = XEN_PAGE_SIZE,
			.flags = GNTCOPY_dest_gref,
		};
	}
	for (i = 0; i < ARRAY_SIZE(counts); i++)
		measure(out, floor, counts[i], "grant_copy", copy_grants, NULL, NULL);
free:
	while (n--)
		__free_page(floor->pages[n]);
}

static int note_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct floor *floor = data;

	floor->ptes[floor->pte_count++] = pte;
	return 0;
}

static const unsigned int frame_counts[] = { 1, 16, 64, 512 };

/* Uses the page-table entries of a range of the reader's address space, and leaves them empty. */
static void frames_pv(struct seq_file *out, struct floor *floor)
{
	unsigned long area;
	unsigned int i;
	int error;

	area = vm_mmap(NULL, 0, MOST * PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (IS_ERR_VALUE(area))
		return;
	floor->pte_count = 0;
	mmap_write_lock(current->mm);
	error = apply_to_page_range(current->mm, area, MOST * PAGE_SIZE, note_pte, floor);
	for (i = 0; i < floor->pte_count; i++)
		floor->update[i].ptr = arbitrary_virt_to_machine(floor->ptes[i]).maddr |
				       MMU_NORMAL_PT_UPDATE;
	for (i = 0; !error && i < ARRAY_SIZE(frame_counts); i++)
		error = measure(out, floor, frame_counts[i], "foreign_map", map_frames_pv,
				"foreign_unmap", unmap_frames_pv);
	mmap_write_unlock(current->mm);
	vm_munmap(area, MOST * PAGE_SIZE);
}

static void frames_translated(struct seq_file *out, struct floor *floor)
{
	unsigned int i;

	if (xen_alloc_unpopulated_pages(MOST, floor->pages))
		return;
	for (i = 0; i < MOST; i++) {
		floor->idxs[i] = frame + i;
		floor->gpfns[i] = page_to_pfn(floor->pages[i]);
	}
	for (i = 0; i < ARRAY_SIZE(frame_counts); i++)
		measure(out, floor, frame_counts[i], "foreign_map", map_frames_translated,
			"foreign_unmap", unmap_frames_translated);
	xen_free_unpopulated_pages(MOST, floor->pages);
}

static int reserve(unsigned int op, struct floor *floor, unsigned int count, unsigned int order)
{
	struct xen_memory_reservation reservation = {
		.nr_extents = count,
		.extent_order = order,
		.domid = DOMID_SELF,
	};

	set_xen_guest_handle(reservation.extent_start, floor->gpfns);
	return HYPERVISOR_memory_op(op, &reservation) != count;
}

/* With the pages out of the kernel's address space before, and every CPU aware of it. */
static int give_pv(struct floor *floor, unsigned int count)
{
	struct mmuext_op flush = { .cmd = MMUEXT_TLB_FLUSH_ALL };
	unsigned int i;
	int done;

	for (i = 0; i < count; i++)
		floor->update[i].val = 0;
	if (HYPERVISOR_mmu_update(floor->update, count, &done, DOMID_SELF) ||
	    HYPERVISOR_mmuext_op(&flush, 1, NULL, DOMID_SELF))
		return 1;
	for (i = 0; i < count; i++)
		floor->gpfns[i] = pfn_to_mfn(page_to_pfn(floor->pages[i]));
	return reserve(XENMEM_decrease_reservation, floor, count, 0);
}

static int take_pv(struct floor *floor, unsigned int count)
{
	unsigned int i;
	int done;

	floor->gpfns[0] = page_to_pfn(floor->pages[0]);
	if (reserve(XENMEM_populate_physmap, floor, 1, ilog2(count)))
		return 1;
	for (i = 0; i < count; i++) {
		floor->gpfns[i] = floor->gpfns[0] + i;
		xen_safe_write_ulong(xen_p2m_addr + page_to_pfn(floor->pages[i]), floor->gpfns[i]);
		floor->update[i].val = mfn_pte(floor->gpfns[i], PAGE_KERNEL).pte;
	}
	return HYPERVISOR_mmu_update(floor->update, count, &done, DOMID_SELF);
}

static int give_list(struct floor *floor, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		floor->gpfns[i] = page_to_pfn(floor->pages[i]);
	return reserve(XENMEM_decrease_reservation, floor, count, 0);
}

static int give_extent(struct floor *floor, unsigned int count)
{
	floor->gpfns[0] = page_to_pfn(floor->pages[0]);
	return reserve(XENMEM_decrease_reservation, floor, 1, ilog2(count));
}

static int take_extent(struct floor *floor, unsigned int count)
{
	floor->gpfns[0] = page_to_pfn(floor->pages[0]);
	return reserve(XENMEM_populate_physmap, floor, 1, ilog2(count));
}

/* Memory goes to Xen and comes back: the pages are nobody's meanwhile. */
static void ballooning(struct seq_file *out, struct floor *floor)
{
	struct page *page = alloc_pages(GFP_KERNEL, ilog2(MOST));
	unsigned int i, level;

	if (!page)
		return;
	for (i = 0; i < MOST; i++) {
		unsigned long addr = (unsigned long)page_address(page + i);

		floor->pages[i] = page + i;
		if (xen_pv_domain())
			floor->update[i].ptr =
				arbitrary_virt_to_machine(lookup_address(addr, &level)).maddr |
				MMU_NORMAL_PT_UPDATE;
	}
	if (xen_pv_domain()) {
		measure(out, floor, MOST, "balloon_give", give_pv, "balloon_take", take_pv);
	} else {
		measure(out, floor, MOST, "balloon_give_list", give_list,
			"balloon_take_after_list", take_extent);
		measure(out, floor, MOST, "balloon_give", give_extent,
			"balloon_take", take_extent);
	}
	__free_pages(page, ilog2(MOST));
}

static int show(struct seq_file *out, void *unused)
{
	struct floor *floor = kvzalloc(sizeof(*floor), GFP_KERNEL);

	if (!floor)
		return -ENOMEM;
	measure(out, floor, 1, "null_hypercall", null, NULL, NULL);
	event_channels(out, floor);
	grant_mapping(out, floor);
	grant_copying(out, floor);
	if (xen_pv_domain())
		frames_pv(out, floor);
	else
		frames_translated(out, floor);
	ballooning(out, floor);
	kvfree(floor);
	return 0;
}

static int open(struct inode *inode, struct file *file)
{
	return single_open_size(file, show, NULL, 4 * PAGE_SIZE);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = open,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int get_current_kb(void *unused, u64 *kb)
{
	*kb = (u64)READ_ONCE(balloon_stats.current_pages) << (PAGE_SHIFT - 10);
	return 0;
}

static int set_target_kb(void *unused, u64 kb)
{
	balloon_set_new_target(kb >> (PAGE_SHIFT - 10));
	return 0;
}
DEFINE_DEBUGFS_ATTRIBUTE(balloon_operations, get_current_kb, set_target_kb, "%llu\n");

static int __init floor_init(void)
{
	if (!xen_domain())
		return -ENODEV;
	results = debugfs_create_file("xen_floor", 0400, NULL, NULL, &operations);
	if (IS_ERR(results))
		return PTR_ERR(results);
	balloon = debugfs_create_file("xen_floor_balloon", 0600, NULL, NULL, &balloon_operations);
	if (IS_ERR(balloon))
		debugfs_remove(results);
	return PTR_ERR_OR_ZERO(balloon);
}
module_init(floor_init);

static void __exit floor_exit(void)
{
	debugfs_remove(balloon);
	debugfs_remove(results);
}
module_exit(floor_exit);

MODULE_DESCRIPTION("Measures Xen hypercalls from inside the kernel");
MODULE_LICENSE("GPL");
