/*
 * Switching off the hardware that a disk is part of, so that it can be unplugged also where it
 * turns: the USB device, with everything in it, or a SCSI or SATA disk alone. A card cannot be
 * switched off without its slot.
 *
 * Attributes: Documentation/ABI/testing/sysfs-bus-usb ("remove"), Documentation/scsi/ ("delete").
 */
#pragma once

#include <limits.h>

#include "base/limits.h"
#include "base/util.h"

struct power_unit {
	char dir[PATH_MAX];    /* of the hardware, relative to /sys */
	const char *attribute; /* to be written to; static */
};

/*
 * What a block device would be switched off with. Reads only sysfs, by a directory fd of /sys, and
 * waits for nothing. Returns 0; -EOPNOTSUPP if nothing of it can be switched off; -EROFS or
 * -EACCES where /sys cannot be written; -ENODEV when there is no such device (any more); or -errno.
 */
int power_unit_find(int sysfs_fd, const char *kname, struct power_unit *ret_unit);

/* Whether a block device is part of it. The same. */
bool power_unit_has(int sysfs_fd, const struct power_unit *unit, const char *kname);

/* For power_off(). */
struct power_off {
	struct power_unit unit;
	const char *dev_dir; /* with the device nodes; borrowed */
};

/*
 * Proves that nobody uses any of its disks, empties their caches, stops what turns and switches the
 * hardware off: its disks are gone then, until it is plugged in anew. For a child of its own: waits
 * for the device, and leaves descriptors open. what: a struct power_off. Returns 0, also when the
 * hardware is gone already; -EBUSY when one of its disks is mounted or used otherwise; or -errno.
 */
int power_off(const void *what);
