// SPDX-License-Identifier: GPL-2.0
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>
#include <asm/xen/hypercall.h>
#include <asm/xen/page.h>
#include <xen/interface/memory.h>
#include <xen/interface/xen.h>

#ifdef CONFIG_XEN_PV
struct foreign_updates {
	const u64 *frame;
	struct mmu_update *update;
	pgprot_t prot;
	unsigned int mode;
};

static int foreign_update(pte_t *ptep, unsigned long addr, void *data)
{
	struct foreign_updates *u = data;
	pte_t pte = pte_mkspecial(mfn_pte(*u->frame, u->prot));

	u->update->ptr = virt_to_machine(ptep).maddr | u->mode;
	u->update->val = pte_val_ma(pte);
	u->frame++;
	u->update++;
	return 0;
}

/* Writes the requests that put @frames into the page table, one after the other from @addr. */
int xen_rust_foreign_updates(struct vm_area_struct *vma, unsigned long addr,
			     const u64 *frames, unsigned int nr, bool machine,
			     struct mmu_update *updates)
{
	struct foreign_updates u = {
		.frame = frames,
		.update = updates,
		.prot = vma->vm_page_prot,
		.mode = machine ? MMU_PT_UPDATE_NO_TRANSLATE : MMU_NORMAL_PT_UPDATE,
	};

	return apply_to_page_range(vma->vm_mm, addr, (unsigned long)nr << PAGE_SHIFT,
				   foreign_update, &u);
}

int xen_rust_mmu_update(struct mmu_update *updates, int nr, int *done,
			unsigned int domid)
{
	return FALLIBLE(HYPERVISOR_mmu_update(updates, nr, done, domid));
}

/* Entries that are cleared by one hypercall. */
#define FOREIGN_CLEAR 64

struct foreign_clear {
	struct mmu_update updates[FOREIGN_CLEAR];
	unsigned int nr;
};

static int foreign_clear_entry(pte_t *ptep, unsigned long addr, void *data)
{
	struct foreign_clear *c = data;

	if (!pte_none(ptep_get(ptep))) {
		c->updates[c->nr].ptr = virt_to_machine(ptep).maddr | MMU_NORMAL_PT_UPDATE;
		c->updates[c->nr].val = 0;
		c->nr++;
	}
	return 0;
}

/*
 * Clears the entries of @pages pages from @addr, all of which have page tables, and
 * flushes them. What Xen does not clear stays as it is.
 */
void xen_rust_foreign_clear(struct mm_struct *mm, unsigned long addr, unsigned long pages)
{
	struct mmuext_op flush = { .cmd = MMUEXT_TLB_FLUSH_ALL };
	struct foreign_clear clear;
	bool any = false;

	/*
	 * An address space that is going as a whole has been taken off Xen's hands by
	 * now: its page tables are ordinary memory, which is cheap to write.
	 */
	if (!PagePinned(virt_to_page(mm->pgd)))
		return;

	while (pages) {
		unsigned int nr = min(pages, (unsigned long)FOREIGN_CLEAR);

		clear.nr = 0;
		if (apply_to_page_range(mm, addr, (unsigned long)nr << PAGE_SHIFT,
					foreign_clear_entry, &clear))
			break;
		if (clear.nr) {
			any = true;
			if (HYPERVISOR_mmu_update(clear.updates, clear.nr, NULL, DOMID_SELF))
				break;
		}
		addr += (unsigned long)nr << PAGE_SHIFT;
		pages -= nr;
		cond_resched();
	}
	/* The kernel flushes what it has cleared itself only. */
	if (any)
		HYPERVISOR_mmuext_op(&flush, 1, NULL, DOMID_SELF);
}

static int set_kernel_frame(void *address, u64 mfn, u16 domid)
{
	struct mmu_update update;
	struct mmuext_op flush = {
		.cmd = MMUEXT_INVLPG_ALL,
		.arg1.linear_addr = (unsigned long)address,
	};
	unsigned int level;
	pte_t *ptep = lookup_address((unsigned long)address, &level);
	int ret;

	if (!ptep || level != PG_LEVEL_4K)
		return -EINVAL;
	update.ptr = virt_to_machine(ptep).maddr | MMU_PT_UPDATE_NO_TRANSLATE;
	update.val = pte_val_ma(pte_mkspecial(mfn_pte(mfn, PAGE_KERNEL)));
	ret = HYPERVISOR_mmu_update(&update, 1, NULL, domid);
	if (ret)
		return ret;
	return HYPERVISOR_mmuext_op(&flush, 1, NULL, DOMID_SELF);
}

/*
 * Shows frame @mfn of @domid to the kernel. The kernel has no way to reserve an address
 * for it but to map a page there, @page, whose entry is then replaced.
 */
void *xen_rust_map_machine_frame(struct page *page, u64 mfn, u16 domid)
{
	void *address = vmap(&page, 1, VM_MAP, PAGE_KERNEL);
	int ret;

	if (!address)
		return ERR_PTR(-ENOMEM);
	ret = FALLIBLE(set_kernel_frame(address, mfn, domid));
	if (ret) {
		vunmap(address);
		return ERR_PTR(ret);
	}
	return address;
}

/* Puts @page, which the kernel takes to be there, back before the kernel looks. */
void xen_rust_unmap_machine_frame(struct page *page, void *address)
{
	if (set_kernel_frame(address, pfn_to_mfn(page_to_pfn(page)), DOMID_SELF))
		pr_err("xen: a page of the kernel is not taken back by Xen\n");
	vunmap(address);
}
#else
void xen_rust_foreign_clear(struct mm_struct *mm, unsigned long addr, unsigned long pages)
{
}

int xen_rust_foreign_updates(struct vm_area_struct *vma, unsigned long addr,
			     const u64 *frames, unsigned int nr, bool machine,
			     struct mmu_update *updates)
{
	return -EOPNOTSUPP;
}

int xen_rust_mmu_update(struct mmu_update *updates, int nr, int *done,
			unsigned int domid)
{
	return -EOPNOTSUPP;
}

void *xen_rust_map_machine_frame(struct page *page, u64 mfn, u16 domid)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void xen_rust_unmap_machine_frame(struct page *page, void *address)
{
}
#endif

void *xen_rust_page_address(struct page *page)
{
	return page_address(page);
}

struct foreign_ptes {
	struct mm_struct *mm;
	const u64 *pfn;
	const int *err;
	pgprot_t prot;
};

static int foreign_set_pte(pte_t *ptep, unsigned long addr, void *data)
{
	struct foreign_ptes *p = data;

	if (!*p->err)
		set_pte_at(p->mm, addr, ptep, pte_mkspecial(pfn_pte(*p->pfn, p->prot)));
	p->pfn++;
	p->err++;
	return 0;
}

/* Enters those of @pfns that have no error, each at its own place from @addr. */
int xen_rust_foreign_set_ptes(struct vm_area_struct *vma, unsigned long addr,
			      const u64 *pfns, const int *errs, unsigned int nr)
{
	struct foreign_ptes p = {
		.mm = vma->vm_mm,
		.pfn = pfns,
		.err = errs,
		.prot = vma->vm_page_prot,
	};

	return apply_to_page_range(vma->vm_mm, addr, (unsigned long)nr << PAGE_SHIFT,
				   foreign_set_pte, &p);
}

int xen_rust_add_foreign_to_physmap(u16 domid, u64 *gfns, u64 *pfns, int *errs, u16 nr)
{
	struct xen_add_to_physmap_range range = {
		.domid = DOMID_SELF,
		.space = XENMAPSPACE_gmfn_foreign,
		.size = nr,
		.foreign_domid = domid,
	};

	BUILD_BUG_ON(sizeof(xen_ulong_t) != sizeof(*gfns));
	BUILD_BUG_ON(sizeof(xen_pfn_t) != sizeof(*pfns));
	set_xen_guest_handle(range.idxs, (xen_ulong_t *)gfns);
	set_xen_guest_handle(range.gpfns, (xen_pfn_t *)pfns);
	set_xen_guest_handle(range.errs, errs);
	return FALLIBLE(HYPERVISOR_memory_op(XENMEM_add_to_physmap_range, &range));
}

int xen_rust_acquire_resource(u16 domid, u16 type, u32 id, u64 frame, u64 *frames,
			      u32 *nr, u32 *flags)
{
	struct xen_mem_acquire_resource resource = {
		.domid = domid,
		.type = type,
		.id = id,
		.nr_frames = *nr,
		.frame = frame,
	};
	int ret;

	BUILD_BUG_ON(sizeof(xen_pfn_t) != sizeof(*frames));
	set_xen_guest_handle(resource.frame_list, (xen_pfn_t *)frames);
	ret = FALLIBLE(HYPERVISOR_memory_op(XENMEM_acquire_resource, &resource));
	*nr = resource.nr_frames;
	*flags = resource.flags;
	return ret;
}
