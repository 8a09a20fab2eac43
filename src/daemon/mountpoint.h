/* Mounting the view, and taking it away. */
#pragma once

#include "base/util.h"

/* Its type in mount tables. */
#define VIEW_TYPE "fuse.hotplugfs"

/*
 * Checks that path can carry the view: a directory, not the root, not the mountpoint of a live
 * hotplugfs nor inside of one. Dead ones, which a daemon that was killed left, are unmounted with a
 * line in the log. ret_path: absolute, without links, to be freed. Returns 0, or -errno after a
 * line in the log.
 */
int mountpoint_prepare(const char *path, char **ret_path);

/*
 * Opens /dev/fuse and mounts it there. Returns the fd of the connection, or -errno after a line
 * in the log that says what is missing.
 */
int mountpoint_mount(const char *path, bool exec);

/*
 * Lets the kernel read so much ahead in the mounted view, in files that do not pass through:
 * /sys/class/bdi/ (Documentation/ABI/testing/sysfs-class-bdi). Asks the server nothing. Returns 0
 * or -errno.
 */
int mountpoint_readahead(const char *path, int sysfs_fd, unsigned kib);

/* Blocks until the server has taken what is unwritten: for a child. Returns 0 or -errno. */
int mountpoint_sync(const char *path);

/*
 * Takes away a view that nobody serves, without asking it anything: whoever uses it gets ENOTCONN.
 * Returns 0, also if there is none, or -errno.
 */
int mountpoint_discard(const char *path);

/* Unmounts; lazily if it is in use. May wait for the server. Returns 0 or -errno. */
int mountpoint_unmount(const char *path);
