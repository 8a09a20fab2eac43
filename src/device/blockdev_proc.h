/* Block devices where there is no sysfs. Internal to device/. */
#pragma once

#include "device/blockdev.h"

/*
 * The same as blockdev_read() and blockdev_each(), from the file "partitions" in a directory, which
 * is /proc. It tells names, numbers and sizes, and no empty drives. What is not known is: bus,
 * removable, read-only, hardware. Returns as they do, -ENODEV also when there is no such file.
 */
int blockdev_read_proc(int proc_fd, const char *kname, struct blockdev *ret_dev);
int blockdev_each_proc(int proc_fd, int (*fn)(const char *kname, void *data), void *data);
