// SPDX-License-Identifier: GPL-2.0
#include <linux/uaccess.h>
#include <linux/uio.h>

/* A single word is by far the most frequent. */
bool xen_rust_get_words(u32 *to, const void __user *from, size_t nr)
{
	if (nr == 1)
		return !get_user(*to, (const u32 __user *)from);
	return !copy_from_user(to, from, nr * sizeof(*to));
}

bool xen_rust_put_words_nofault(void __user *to, const u32 *from, size_t nr)
{
	unsigned long left;

	pagefault_disable();
	if (nr == 1)
		left = put_user(*from, (u32 __user *)to);
	else
		left = copy_to_user_nofault(to, from, nr * sizeof(*from));
	pagefault_enable();
	return !left;
}

size_t xen_rust_copy_to_iter_nofault(const void *from, size_t len, struct iov_iter *iter)
{
	size_t copied;

	pagefault_disable();
	copied = _copy_to_iter(from, len, iter);
	pagefault_enable();
	return copied;
}
