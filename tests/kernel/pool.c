// SPDX-License-Identifier: GPL-2.0
/*
 * Tells how many pages the kernel's pool of addresses without memory has. The kernel counts them in
 * a variable of its own, which whoever loads this finds in /proc/kallsyms.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kallsyms.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>
#include <linux/sysfs.h>

static unsigned long at;
module_param(at, ulong, 0400);
MODULE_PARM_DESC(at, "The address of list_count in drivers/xen/unpopulated-alloc.c");

static int free_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%u\n", READ_ONCE(*(unsigned int *)at));
}

static const struct kernel_param_ops free_ops = {
	.get = free_get,
};
module_param_cb(free, &free_ops, NULL, 0400);
MODULE_PARM_DESC(free, "How many pages there are in the pool");

static int __init pool_init(void)
{
	char name[KSYM_SYMBOL_LEN];

	sprint_symbol(name, at);
	return str_has_prefix(name, "list_count+0x0/") ? 0 : -EINVAL;
}
module_init(pool_init);

static void __exit pool_exit(void)
{
}
module_exit(pool_exit);

MODULE_DESCRIPTION("The pages of the pool of addresses without memory");
MODULE_LICENSE("GPL");
