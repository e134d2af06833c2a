/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hypercalls that fail on demand, for tests: built with XEN_RUST_FAULTS=1 only, which no
 * normal build is. What asks for the failures is the kernel's fault injection: a task that
 * writes n to its fail-nth has the n-th allocation, copy or hypercall of its fail.
 *
 * Only hypercalls that something is gained by are among them. What gives something back
 * never fails in Xen unless it was not there, so nothing is learnt from letting it fail.
 */
#ifdef XEN_RUST_FAULTS
#include <linux/fault-inject.h>

static bool xen_rust_fails(void)
{
	/* Says nothing on the console, and never fails on its own. */
	static struct fault_attr attr = {
		.interval = 1,
		.times = ATOMIC_INIT(-1),
		.require_end = ULONG_MAX,
		.stacktrace_depth = 32,
	};

	return should_fail(&attr, 1);
}
#else
static inline bool xen_rust_fails(void)
{
	return false;
}
#endif

/* A hypercall, or its failure: an error that Xen gives for many reasons. */
#define FALLIBLE(call) (xen_rust_fails() ? -ENOMEM : (call))
