/* Opening a device for a probe. */
#pragma once

#include <sys/types.h>

#include "base/util.h"

/*
 * Opens the node of a kernel name in dev_fd for reading, if it has that device number. Where the
 * node is missing, is another device's or may not be opened, makes one on a detached tmpfs that
 * nobody else sees (needs CAP_SYS_ADMIN and CAP_MKNOD). May block on the device: only for the
 * probe's child. Returns the fd, or -errno, that of the first way when both fail.
 */
int probe_node_open(int dev_fd, const char *kname, dev_t devnum);
