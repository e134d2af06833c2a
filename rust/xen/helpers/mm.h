/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct mm_struct;
struct page;
struct vm_area_struct;

int xen_rust_mmap_write_lock_killable(struct mm_struct *mm);
void xen_rust_mmap_write_lock(struct mm_struct *mm);
void xen_rust_mmap_write_unlock(struct mm_struct *mm);
void xen_rust_vma_set_pfnmap(struct vm_area_struct *vma);
int xen_rust_vma_range_is_none(struct vm_area_struct *vma, unsigned long addr,
			       unsigned long size);
unsigned long xen_rust_page_private(struct page *page);
void xen_rust_set_page_private(struct page *page, unsigned long private);
struct page *xen_rust_alloc_zeroed_page(void);
void xen_rust_put_page(struct page *page);
int xen_rust_locked_down_xen(void);
