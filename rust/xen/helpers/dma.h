/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct device;

void xen_rust_dma_reach_all(struct device *dev);
u64 xen_rust_dma_to_phys(struct device *dev, u64 address);
