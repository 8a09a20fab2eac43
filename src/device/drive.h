/*
 * A SCSI drive whose medium can be exchanged while the drive stays: a card reader, also the one of
 * a stick. The kernel notices that only when it asks the drive, and it asks only when it is told
 * to. What was mounted from the old medium would be written to the new one: the drive is cut off
 * before that, and made known to the kernel again.
 *
 * Attributes: Documentation/ABI/testing/sysfs-block-device and Documentation/scsi/ of the kernel.
 */
#pragma once

#include "base/util.h"

/*
 * Makes the kernel ask it five times a second, or lets it stop again; path: "/sys/block/NAME". An
 * interval that somebody else has set is left alone. Waits for the drive. Returns 0, or -errno;
 * -EROFS and -EACCES where /sys cannot be written.
 */
int drive_ask(const char *path);
int drive_ask_no_more(const char *path);

/*
 * Opens the device node path and closes it, which makes the kernel ask the drive. Waits for the
 * drive. Returns 0 or -errno.
 */
int drive_look(const char *path);

/*
 * From now on the kernel refuses every request to the drive with this SCSI address. Does not wait
 * for the drive. Returns 0; -ENOENT or -ENODEV when it is gone, or on its way; or -errno, also
 * where /sys cannot be written.
 */
int drive_cut_off(int sysfs_fd, const char *address);
/*
 * Makes the kernel forget a drive that was cut off, and find it anew: its events tell of a new
 * device. path: the SCSI address. Waits for the drive. Returns 0 or -errno.
 */
int drive_renew(const char *address);
