/*
 * Which disks hold mounts or swap of the host, as far as this mount namespace and /proc show
 * them: the whole disk of each such device, and the disks that it is built on.
 */
#pragma once

#include <sys/types.h>

#include "base/util.h"

struct sysdisk {
	dev_t *disks;
	size_t count;
	size_t room;
};

#define SYSDISK_NULL \
	{            \
	}

/*
 * Looks again, from /proc/self/mountinfo and /proc/swaps of a directory fd of /proc, with sysfs
 * for what lies under what, and the directory that stands for /dev. Never touches a device, nor
 * any other filesystem, whatever a mount calls its source. Returns 0, or -errno with the old
 * knowledge kept.
 */
int sysdisk_read(struct sysdisk *sysdisk, int proc_fd, int sysfs_fd, int dev_fd);
void sysdisk_done(struct sysdisk *sysdisk);

/* Whether a whole disk is one of them. */
bool sysdisk_has(const struct sysdisk *sysdisk, dev_t disk);
