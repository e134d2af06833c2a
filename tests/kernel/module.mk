# SPDX-License-Identifier: GPL-2.0
# What some tests need inside the kernel; each loads its own.
obj-m += xen-gsi.o xen-busy.o xen-pool.o
xen-gsi-y := tests/kernel/gsi.o
xen-busy-y := tests/kernel/busy.o
xen-pool-y := tests/kernel/pool.o
