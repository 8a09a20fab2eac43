/* The root directory of a driver program. Internal to staging/. */
#pragma once

#include <sys/types.h>

#include "base/util.h"

#define PROGRAM_ROOT_DISK  "/dev/disk" /* the device, in the new root */
#define PROGRAM_ROOT_MOUNT "/mnt"      /* an empty directory, which libfuse wants to see */
#define PROGRAM_ROOT_PATH  "/helper:/usr/sbin:/usr/bin:/sbin:/bin"

/*
 * Moves the calling process, which must have one thread, into a mount namespace of its own with
 * nothing in it but programs and libraries, read-only, the one device and /dev/fuse, and ourselves
 * as fusermount. dev_dir, kname, devnum: the device and where its node is; where that is another
 * device's, a node is made. failed: on failure, what could not be had. Returns 0 or -errno.
 */
int program_root_enter(const char *dev_dir, const char *kname, dev_t devnum, const char **failed);
