/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/device.h>

void xen_rust_device_attribute_init(struct device_attribute *attr, const char *name, umode_t mode,
				    ssize_t (*show)(struct device *dev,
						    struct device_attribute *attr, char *buf),
				    ssize_t (*store)(struct device *dev,
						     struct device_attribute *attr,
						     const char *buf, size_t count));
void xen_rust_attribute_group_init(struct attribute_group *group, const char *name,
				   struct attribute **attrs);
