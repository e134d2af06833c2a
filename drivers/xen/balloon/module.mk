# SPDX-License-Identifier: GPL-2.0
$(eval $(call xen_module,xen-balloon,drivers/xen/balloon/balloon))
