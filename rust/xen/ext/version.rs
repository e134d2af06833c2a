// SPDX-License-Identifier: GPL-2.0

//! What the kernels that this code is built for say differently.

use crate::bindings;

/// The interrupt was for this handler.
#[cfg(kernel_7_2)]
pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn_IRQ_HANDLED;
/// The interrupt was for this handler.
#[cfg(not(kernel_7_2))]
pub(crate) const IRQ_HANDLED: bindings::irqreturn_t = bindings::irqreturn::IRQ_HANDLED;
