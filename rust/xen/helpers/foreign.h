/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>
#include <xen/interface/xen.h>

struct mm_struct;
struct page;
struct vm_area_struct;

int xen_rust_foreign_updates(struct vm_area_struct *vma, unsigned long addr,
			     const u64 *frames, unsigned int nr, bool machine,
			     struct mmu_update *updates);
int xen_rust_mmu_update(struct mmu_update *updates, int nr, int *done,
			unsigned int domid);
int xen_rust_foreign_set_ptes(struct vm_area_struct *vma, unsigned long addr,
			      const u64 *pfns, const int *errs, unsigned int nr);
int xen_rust_add_foreign_to_physmap(u16 domid, u64 *gfns, u64 *pfns, int *errs, u16 nr);
int xen_rust_acquire_resource(u16 domid, u16 type, u32 id, u64 frame, u64 *frames,
			      u32 *nr, u32 *flags);
void *xen_rust_page_address(struct page *page);
void *xen_rust_map_machine_frame(struct page *page, u64 mfn, u16 domid);
void xen_rust_unmap_machine_frame(struct page *page, void *address);
void xen_rust_foreign_clear(struct mm_struct *mm, unsigned long addr, unsigned long pages);
