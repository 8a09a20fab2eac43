#include "bdi.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/log.h"

/* Some seconds of a slow stick, and enough for a fast one to be written at its full speed. */
#define DIRTY_MAX "67108864"

/* Attributes of class/bdi (Documentation/ABI/testing/sysfs-class-bdi); strict_limit first. */
static const struct {
	const char *name;
	const char *value;
} attributes[] = {
	{"strict_limit", "1"},
	{"max_bytes", DIRTY_MAX},
};

static bool is_slow(enum blockdev_bus bus)
{
	return bus == BLOCKDEV_BUS_USB || bus == BLOCKDEV_BUS_FIREWIRE || bus == BLOCKDEV_BUS_MMC ||
	       bus == BLOCKDEV_BUS_MEMSTICK;
}

void bdi_limit(int sysfs_fd, const struct blockdev *dev)
{
	char path[96];

	if (!is_slow(dev->bus))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		_cleanup_close_ int fd = -EBADF;
		size_t len = strlen(attributes[i].value);

		(void)snprintf(path, sizeof(path), "class/bdi/%u:%u/%s", major(dev->disk_devnum),
			       minor(dev->disk_devnum), attributes[i].name);
		fd = openat(sysfs_fd, path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, attributes[i].value, len) < 0)
			log_debug("%s: cannot set %s: %s, ignoring", dev->kname, attributes[i].name,
				  strerror(errno));
	}
}
