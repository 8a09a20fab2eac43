/*
 * Whether somebody else uses a block device: a mount in any mount namespace, swap, a device built
 * on it, or a program that has opened it with O_EXCL. A whole disk is used when a partition of it
 * is.
 */
#pragma once

#include <sys/types.h>

#include "base/limits.h"
#include "base/util.h"

/*
 * Claims a device until the descriptor is closed, for reading: a close after writing would make
 * udevd send an event. Waits for the device. Returns the descriptor; -EBUSY when it is used;
 * -ENODEV when the node in dev_fd is another device's; or -errno.
 */
int claim_open(int dev_fd, const char *kname, dev_t devnum);

struct claim {
	const char *dev_dir; /* with the device nodes; borrowed */
	const char *kname;   /* borrowed */
	dev_t devnum;
};

/*
 * For a child of its own: claims it and lets it go. what: a struct claim. Returns 0, -EBUSY, or
 * -errno.
 */
int claim_try(const void *what);
