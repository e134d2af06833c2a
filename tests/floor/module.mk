# SPDX-License-Identifier: GPL-2.0
# Measures the hypercalls alone, beside which the drivers are judged.
obj-m += xen-floor.o
xen-floor-y := tests/floor/floor.o
