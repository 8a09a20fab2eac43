/* The part of blockdev_read() that looks at the devices above a disk. */
#pragma once

#include "device/blockdev.h"
#include "device/sysfs.h"

/*
 * Fills in bus, vendor, model and hwid. dir: the disk's directory relative to /sys; kname, disk
 * and partno of dev are set.
 */
void blockdev_read_hardware(struct sysfs *sysfs, const char *dir, struct blockdev *dev);
