# SPDX-License-Identifier: GPL-2.0
$(eval $(call xen_module,xenfs,drivers/xen/xenfs/xenfs))
