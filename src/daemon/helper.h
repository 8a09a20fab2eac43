/* A child that does something which may wait: for the server, or for a drive. */
#pragma once

#include "base/loop.h"

struct helper;

/* Called once from the loop: what the child's function returned, -ETIMEDOUT, or -EIO. */
typedef void (*helper_done_fn)(int err, void *data);

/*
 * Runs fn(what) in a child, which is killed after deadline_ms, and has no descriptor of ours.
 * Returns 0 or -errno.
 */
int helper_start(struct loop *loop, int (*fn)(const void *what), const void *what,
		 uint64_t deadline_ms, helper_done_fn done, void *data, struct helper **ret_helper);
/* done is not called any more, the child is killed. Accepts NULL, returns NULL. */
struct helper *helper_cancel(struct helper *helper);
/* done is not called any more, the child ends in its own time. Accepts NULL, returns NULL. */
struct helper *helper_leave(struct helper *helper);
