/* Reaching a block device by a node that is surely its own. Internal to staging/. */
#pragma once

#include <sys/types.h>

#include "base/limits.h"
#include "base/util.h"

struct device_node {
	char path[LIMIT_KNAME + 8]; /* as mount calls take it, from the working directory */
	bool made;		    /* by us: to be removed */
};
#define DEVICE_NODE_NULL \
	{                \
	}

/*
 * Finds the node in dev_fd; where it is missing, is another device's or cannot be opened, makes
 * one in the root of the namespace. Changes the working directory to where path counts from.
 * Proves that nobody else has claimed the device, by an exclusive open. Returns 0; -EBUSY when it
 * is claimed; or -errno.
 */
int device_node_find(int dev_fd, const char *kname, dev_t devnum, struct device_node *ret_node);

/* Removes a node that was made. */
void device_node_done(struct device_node *node);
