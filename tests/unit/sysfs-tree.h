/* A made-up /sys, written by a test into a directory of its own, and a USB stick in it. */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/util.h"

struct tree {
	char path[64];
	int fd;
};

static inline void make_parents(int fd, const char *path)
{
	char part[512];

	for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		(void)str_copy(part, (size_t)(slash - path) + 1, path);
		if (mkdirat(fd, part, 0700) < 0)
			assert_int_equal(errno, EEXIST);
	}
}

static inline void put(const struct tree *t, const char *dir, const char *name, const char *text)
{
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	make_parents(t->fd, path);
	fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static inline void put_link(const struct tree *t, const char *dir, const char *name,
			    const char *target)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	make_parents(t->fd, path);
	assert_int_equal(symlinkat(target, t->fd, path), 0);
}

/* A block device in dir, with its link in class/block. */
static inline void put_device(const struct tree *t, const char *dir, const char *devnum,
			      const char *size)
{
	const char *kname = strrchr(dir, '/') + 1;
	char target[512];

	put(t, dir, "dev", devnum);
	put(t, dir, "size", size);
	put(t, dir, "ro", "0\n");
	put(t, dir, "holders/.keep", "");
	(void)snprintf(target, sizeof(target), "../../%s", dir);
	put_link(t, "class/block", kname, target);
}

static inline int tree_setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)STR_COPY(t->path, "/tmp/hotplugfs-sysfs-XXXXXX");
	assert_non_null(mkdtemp(t->path));
	t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
	*state = t;
	return 0;
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int tree_teardown(void **state)
{
	struct tree *t = *state;

	close(t->fd);
	(void)nftw(t->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(t);
	return 0;
}

#define USB_STICK "devices/pci0000:00/0000:00:14.0/usb1/1-2"
#define USB_SCSI  USB_STICK "/1-2:1.0/host6/target6:0:0/6:0:0:0"
#define USB_DISK  USB_SCSI "/block/sdb"

static inline void put_usb_stick(const struct tree *t)
{
	put_device(t, USB_DISK, "8:16\n", "2048\n");
	put(t, USB_DISK, "removable", "1\n");
	put(t, USB_DISK, "diskseq", "17\n");
	put(t, USB_DISK, "hidden", "0\n");
	put_link(t, USB_DISK, "device", "../../../6:0:0:0");
	put_link(t, USB_SCSI, "subsystem", "../../../../../../../../bus/scsi");
	put(t, USB_SCSI, "vendor", "Kingston\n");
	put(t, USB_SCSI, "model", "DataTraveler 3.0\n");
	put_link(t, USB_STICK, "subsystem", "../../../../../bus/usb");
	put(t, USB_STICK, "idVendor", "0951\n");
	put(t, USB_STICK, "idProduct", "1666\n");
	put(t, "devices/pci0000:00/0000:00:14.0/usb1", "serial", "0000:00:14.0\n");
	put_link(t, "devices/pci0000:00/0000:00:14.0/usb1", "subsystem", "../../../../bus/usb");
	put_device(t, USB_DISK "/sdb1", "8:17\n", "2000\n");
	put(t, USB_DISK "/sdb1", "partition", "1\n");
	put(t, USB_DISK "/sdb1", "start", "48\n");
}
