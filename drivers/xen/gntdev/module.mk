# SPDX-License-Identifier: GPL-2.0
$(eval $(call xen_module,xen-gntdev,drivers/xen/gntdev/gntdev))
