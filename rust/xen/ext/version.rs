// SPDX-License-Identifier: GPL-2.0

//! What the kernels that this code is built for say differently.

use crate::bindings;

/// The interrupt was for this handler.
#[cfg(kernel_7_2)]
pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn_IRQ_HANDLED;
/// The interrupt was for this handler.
#[cfg(not(kernel_7_2))]
pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;

/// For no direction of DMA.
#[cfg(all(CONFIG_DMA_SHARED_BUFFER, kernel_7_2))]
pub(crate) const DMA_NONE: bindings::dma_data_direction = bindings::dma_data_direction_DMA_NONE;
/// For no direction of DMA.
#[cfg(all(CONFIG_DMA_SHARED_BUFFER, not(kernel_7_2)))]
pub(crate) const DMA_NONE: bindings::dma_data_direction = bindings::dma_data_direction::DMA_NONE;

/// For DMA from and to the device.
#[cfg(all(CONFIG_DMA_SHARED_BUFFER, kernel_7_2))]
pub(crate) const DMA_BIDIRECTIONAL: bindings::dma_data_direction =
    bindings::dma_data_direction_DMA_BIDIRECTIONAL;
/// For DMA from and to the device.
#[cfg(all(CONFIG_DMA_SHARED_BUFFER, not(kernel_7_2)))]
pub(crate) const DMA_BIDIRECTIONAL: bindings::dma_data_direction =
    bindings::dma_data_direction::DMA_BIDIRECTIONAL;
