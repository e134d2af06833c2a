/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Ioctls of /dev/xen/gntdev beyond Linux's <xen/gntdev.h>: narrowing a file to one
 * domain, as IOCTL_PRIVCMD_RESTRICT and IOCTL_EVTCHN_RESTRICT_DOMID do for the other
 * devices. The C driver answers with ENOTTY.
 */
#ifndef _UAPI_XEN_RUST_GNTDEV_H
#define _UAPI_XEN_RUST_GNTDEV_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * From now on the open file, whoever holds it, may act on one domain only:
 * map, mmap, copy from and to its grants, export them, grant it the pages of
 * an imported dma-buf, and have events sent to it on unmap. All else is EPERM.
 * What is mapped already stays mapped.
 *
 * A file is narrowed once; asking for the same domain again does nothing.
 *
 * EINVAL: The file is narrowed to another domain, or the identifier is none of
 *         an ordinary domain (DOMID_FIRST_RESERVED and above).
 * EFAULT: The argument cannot be read.
 */
#define IOCTL_GNTDEV_RESTRICT \
	_IOC(_IOC_NONE, 'G', 64, sizeof(struct ioctl_gntdev_restrict))
struct ioctl_gntdev_restrict {
	/* IN parameter */
	/* The domain ID. */
	__u16 domid;
};

#endif
