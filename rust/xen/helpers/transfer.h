/* SPDX-License-Identifier: GPL-2.0 */
#include <linux/types.h>

struct iov_iter;

bool xen_rust_get_words(u32 *to, const void __user *from, size_t nr);
bool xen_rust_put_words_nofault(void __user *to, const u32 *from, size_t nr);
size_t xen_rust_copy_to_iter_nofault(const void *from, size_t len, struct iov_iter *iter);
