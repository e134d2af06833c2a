// SPDX-License-Identifier: GPL-2.0
#include <linux/device.h>
#include <linux/sysfs.h>

/*
 * Kernels differ in which of the members are unions; by name they are the same.
 * lockdep wants a static key, which the macro has.
 */
void xen_rust_device_attribute_init(struct device_attribute *attr, const char *name, umode_t mode,
				    ssize_t (*show)(struct device *dev,
						    struct device_attribute *attr, char *buf),
				    ssize_t (*store)(struct device *dev,
						     struct device_attribute *attr,
						     const char *buf, size_t count))
{
	*attr = (struct device_attribute) {
		.attr = { .name = name, .mode = mode },
		.show = show,
		.store = store,
	};
	sysfs_attr_init(&attr->attr);
}

void xen_rust_attribute_group_init(struct attribute_group *group, const char *name,
				   struct attribute **attrs)
{
	*group = (struct attribute_group) { .name = name, .attrs = attrs };
}
