# SPDX-License-Identifier: GPL-2.0
$(eval $(call xen_module,xen-privcmd,drivers/xen/privcmd/privcmd,drivers/xen/privcmd/exports.o))
