#include "bdi.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/log.h"

/* Some seconds of a slow stick, and enough for a fast one to be written at its full speed. */
#define DIRTY_MAX "67108864"
/*
 * The limit of a device is its share of what all have written of late, and comes to nothing while
 * others are written. A strict one then lets writers wait; on f2fs, with Linux 6.12, for ever.
 */
#define DIRTY_MIN "8388608"

/*
 * Attributes of class/bdi (Documentation/ABI/testing/sysfs-class-bdi): each only if those before it
 * could be set.
 */
static const struct {
	const char *name;
	const char *value;
} attributes[] = {
	{"min_bytes", DIRTY_MIN},
	{"strict_limit", "1"},
	{"max_bytes", DIRTY_MAX},
};

static bool is_slow(enum blockdev_bus bus)
{
	return bus == BLOCKDEV_BUS_USB || bus == BLOCKDEV_BUS_FIREWIRE || bus == BLOCKDEV_BUS_MMC ||
	       bus == BLOCKDEV_BUS_MEMSTICK;
}

static int attribute_set(int sysfs_fd, const struct blockdev *dev, const char *name,
			 const char *value)
{
	_cleanup_close_ int fd = -EBADF;
	char path[96];

	(void)snprintf(path, sizeof(path), "class/bdi/%u:%u/%s", major(dev->disk_devnum),
		       minor(dev->disk_devnum), name);
	fd = openat(sysfs_fd, path, O_WRONLY | O_CLOEXEC);
	return fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

void bdi_limit(int sysfs_fd, const struct blockdev *dev)
{
	int r = is_slow(dev->bus) ? 0 : -EOPNOTSUPP;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(attributes); i++) {
		r = attribute_set(sysfs_fd, dev, attributes[i].name, attributes[i].value);
		if (r < 0)
			log_debug("%s: cannot set %s: %s, ignoring", dev->kname, attributes[i].name,
				  strerror(-r));
	}
}
