// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/security.h>

int xen_rust_mmap_write_lock_killable(struct mm_struct *mm)
{
	return mmap_write_lock_killable(mm);
}

void xen_rust_mmap_write_lock(struct mm_struct *mm)
{
	mmap_write_lock(mm);
}

void xen_rust_mmap_write_unlock(struct mm_struct *mm)
{
	mmap_write_unlock(mm);
}

void xen_rust_vma_set_pfnmap(struct vm_area_struct *vma)
{
	vm_flags_set(vma, VM_PFNMAP);
}

static int expect_none(pte_t *ptep, unsigned long addr, void *data)
{
	return pte_none(ptep_get(ptep)) ? 0 : -EEXIST;
}

/* 0, -EEXIST where an entry is not empty, or -ENOMEM. */
int xen_rust_vma_range_is_none(struct vm_area_struct *vma, unsigned long addr,
			       unsigned long size)
{
	return apply_to_page_range(vma->vm_mm, addr, size, expect_none, NULL);
}

unsigned long xen_rust_page_private(struct page *page)
{
	return page_private(page);
}

void xen_rust_set_page_private(struct page *page, unsigned long private)
{
	set_page_private(page, private);
}

struct page *xen_rust_alloc_zeroed_page(void)
{
	return alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
}

void xen_rust_put_page(struct page *page)
{
	put_page(page);
}

int xen_rust_locked_down_xen(void)
{
	return security_locked_down(LOCKDOWN_XEN_USER_ACTIONS);
}
