/*
 * A member of a ZFS pool has four labels of 256 KiB, and libblkid reads all of them of every
 * device, a MiB: more than for all other types together, and the most of the time that a probe
 * takes. So it is asked for ZFS only where one of the labels has its mark. ZFS itself believes no
 * label without.
 */
#pragma once

#include "base/util.h"

/* Tells the kernel what probe_zfs_possible() will read. Does not wait for the device. */
void probe_zfs_announce(int fd, uint64_t device_bytes);

/*
 * Whether it may be a member. Also true where that cannot be read: who is asked then sees the
 * error. Blocks on the device.
 */
bool probe_zfs_possible(int fd, uint64_t device_bytes);
