/*
 * What sysfs says of a block device. Reads only sysfs, never the device, and so never blocks on
 * it. All paths are relative to a directory fd of /sys, so that tests can use a made-up tree. Where
 * there is no sysfs that is an fd of /proc, which says less.
 */
#pragma once

#include <sys/types.h>

#include "base/limits.h"
#include "base/util.h"

enum blockdev_bus {
	BLOCKDEV_BUS_OTHER,
	BLOCKDEV_BUS_USB,
	BLOCKDEV_BUS_FIREWIRE,
	BLOCKDEV_BUS_MMC, /* SD and MMC cards, but not soldered eMMC (device/type MMC) */
	BLOCKDEV_BUS_MEMSTICK,
	BLOCKDEV_BUS_VIRTUAL, /* loop, zram, ram, nbd: /sys/devices/virtual */
};

struct blockdev {
	char kname[LIMIT_KNAME];
	char disk[LIMIT_KNAME]; /* kname of the whole disk; equal to kname for a disk */
	dev_t devnum;
	dev_t disk_devnum;
	unsigned partno; /* 0: a whole disk */
	uint64_t start_sector;
	uint64_t size_bytes; /* 0: no medium */
	uint64_t diskseq;    /* of the whole disk; 0: this kernel has none */
	enum blockdev_bus bus;
	uint64_t inode; /* of the whole disk's directory in sysfs: another one for each device */
	bool removable; /* of the whole disk: its medium can change under it */
	/*
	 * SCSI address (host:channel:target:lun) of a drive that tells when its medium was
	 * exchanged, for which somebody has to ask it: drive.h. "": not such a drive.
	 */
	char drive[32];
	bool read_only;
	bool has_partitions;   /* the kernel shows partitions of this disk */
	bool has_holders;      /* device-mapper, md: somebody builds on it */
	bool hidden;	       /* sysfs attribute hidden (multipath parts) */
	bool unknown_hardware; /* there is no sysfs: what is said of it means nothing */
	char vendor[LIMIT_HWID];
	char model[LIMIT_HWID];
	/*
	 * What makes this piece of hardware this one: serial and wwid; for USB without them
	 * "usb:VENDOR:PRODUCT" (the same in every port); for loop the end of the backing file; else
	 * the kernel name of the disk. Then "/partno" for a partition. Never empty.
	 */
	char hwid[LIMIT_HWID];
};

/* "usb", "firewire", "mmc", "memstick", "virtual", "other". */
const char *blockdev_bus_name(enum blockdev_bus bus);

/*
 * Opens /sys, or /proc where there is no sysfs on it. Returns the fd or -errno. ret_sysfs (or
 * NULL): which one it is.
 */
int blockdev_open(bool *ret_sysfs);

/*
 * Reads the facts of one device. kname must be a plain file name. The serial of a USB device
 * waits for that device's kernel lock, which a reset in progress holds, and the kernel while it
 * takes the device apart: what is known already is to be read by blockdev_read_again().
 * Returns 0, -ENODEV when there is no such device (any more), -EINVAL for a bad name, or -errno,
 * which says nothing of the device: a shortage (util.h), or no right to look.
 */
int blockdev_read(int sysfs_fd, const char *kname, struct blockdev *ret_dev);

/*
 * The same for a device that has been read before, which waits for nothing: of the same piece of
 * hardware, what cannot have changed is taken from known. ret_dev may be known.
 */
int blockdev_read_again(int sysfs_fd, const struct blockdev *known, struct blockdev *ret_dev);

/*
 * The device's directory in sysfs, relative to sysfs_fd. Returns 0, -ENODEV, or -errno.
 */
int blockdev_dir(int sysfs_fd, const char *kname, char *ret_dir, size_t size);

/* Calls fn for each kname of class/block (disks and partitions) until it returns not 0. */
int blockdev_each(int sysfs_fd, int (*fn)(const char *kname, void *data), void *data);
