// SPDX-License-Identifier: GPL-2.0
/*
 * The symbols that xenfs takes from this module, whichever language either is
 * written in. EXPORT_SYMBOL_GPL() has no Rust form.
 */
#include <linux/export.h>
#include <linux/fs.h>

extern const struct file_operations xen_privcmd_fops;
EXPORT_SYMBOL_GPL(xen_privcmd_fops);

extern const struct file_operations xen_privcmdbuf_fops;
EXPORT_SYMBOL_GPL(xen_privcmdbuf_fops);
