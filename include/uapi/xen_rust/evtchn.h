/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * Ioctls of /dev/xen/evtchn beyond Linux's <xen/evtchn.h>.
 *
 * They act on ports of the file itself, so that a process to which hypercalls are
 * denied, or whose file is restricted to a domain, may use them. The C driver
 * answers them with ENOSYS.
 */
#ifndef _UAPI_XEN_RUST_EVTCHN_H
#define _UAPI_XEN_RUST_EVTCHN_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Values of state, which are Xen's EVTCHNSTAT_*. */
#define XEN_EVTCHN_STATE_CLOSED		0 /* the channel is gone */
#define XEN_EVTCHN_STATE_UNBOUND	1 /* waits for remote_domain to bind its end */
#define XEN_EVTCHN_STATE_INTERDOMAIN	2 /* bound to remote_port of remote_domain */
#define XEN_EVTCHN_STATE_PIRQ		3 /* bound to the physical interrupt named */
#define XEN_EVTCHN_STATE_VIRQ		4 /* bound to the virtual interrupt named */
#define XEN_EVTCHN_STATE_IPI		5 /* bound to a vCPU */

/* Bits of flags. */
#define XEN_EVTCHN_PENDING		(1U << 0) /* the next reads will report it */
#define XEN_EVTCHN_MASKED		(1U << 1) /* no events until it is written */

struct xen_evtchn_port_status {
	__u32 port;		/* in */
	__u32 state;		/* all others are out */
	__u32 remote_domain;	/* 0 unless the state has one */
	__u32 remote_port;	/* 0 unless the state has one */
	__u32 interrupt;	/* 0 unless the state has one */
	__u32 vcpu;		/* that takes the port's events */
	__u32 flags;
	__u32 pad;		/* 0 */
	__u64 events;		/* delivered since the port was bound */
};

/*
 * The status of a port.
 *
 * EFAULT, ENOTCONN if the port is not the file's.
 */
#define XEN_EVTCHN_PORT_STATUS	_IOWR('E', 0x80, struct xen_evtchn_port_status)

struct xen_evtchn_port_vcpu {
	__u32 port;
	__u32 vcpu;		/* as Xen numbers them */
};

/*
 * Lets a vCPU of this domain take a port's events from now on. Whoever balances
 * interrupts, such as irqbalance, may choose another one later.
 *
 * EFAULT, ENOTCONN if the port is not the file's, EINVAL if there is no such vCPU or it
 * is offline, or if the port's events cannot be moved.
 */
#define XEN_EVTCHN_PORT_SET_VCPU	_IOW('E', 0x81, struct xen_evtchn_port_vcpu)

#endif
