/* Bounding what the kernel may keep unwritten for a slow disk. */
#pragma once

#include "device/blockdev.h"

/*
 * Limits the dirty pages of a disk on a slow bus (USB, FireWire, cards), so that neither a sync
 * nor an unmount of it has gigabytes to wait for. The limit stays until the disk is gone. Other
 * buses, a read-only sysfs and kernels that do not have it (before 6.2): nothing happens.
 */
void bdi_limit(int sysfs_fd, const struct blockdev *dev);
