/* A child that does one system call on the view, which may wait for the server. */
#pragma once

#include "base/loop.h"

struct helper;

/* Called once from the loop: what the child's function returned, -ETIMEDOUT, or -EIO. */
typedef void (*helper_done_fn)(int err, void *data);

/*
 * Runs fn(path) in a child, which is killed after deadline_ms. Returns 0 or -errno.
 */
int helper_start(struct loop *loop, int (*fn)(const char *path), const char *path,
		 uint64_t deadline_ms, helper_done_fn done, void *data, struct helper **ret_helper);
/* done is not called any more, the child is killed. Accepts NULL, returns NULL. */
struct helper *helper_cancel(struct helper *helper);
