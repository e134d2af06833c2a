// SPDX-License-Identifier: GPL-2.0
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>

/* For a device that is no hardware, and for which 64 bits cannot be refused. */
void xen_rust_dma_reach_all(struct device *dev)
{
	dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
}

u64 xen_rust_dma_to_phys(struct device *dev, u64 address)
{
	return dma_to_phys(dev, address);
}
