/*
 * Puts the view into a container that runs, and takes it away again. Both change the mount
 * namespace of the calling process for ever, which must have one thread and do nothing else
 * afterwards. Messages go to the caller in words.
 */
#pragma once

#include <sys/types.h>

#include "container/source.h"

struct attach_args {
	struct source_wish wish;
	int pidfd; /* of the container's process; borrowed */
	pid_t pid;
	const char *root; /* a path in its mount namespace that will be its root; NULL: it has it */
	const char *target; /* directory in the container; made if it is not there */
};

/*
 * Returns 0, and whether the daemon may be restarted; or -errno with one line in error. A dead view
 * at target is replaced; -EEXIST when there is a live one.
 */
int attach_run(const struct attach_args *args, enum source_follow *ret_follow, char *error,
	       size_t error_size);

/* Takes the view at target away, and its base. Returns 0, or -errno with one line in error. */
int attach_undo(const struct attach_args *args, char *error, size_t error_size);
