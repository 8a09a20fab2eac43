#include "device/power.h"

#include <fcntl.h>
#include <scsi/sg.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "device/blockdev.h"
#include "device/claim.h"
#include "device/sysfs.h"

#define DISKS_MAX	 64
#define STOP_DEADLINE_MS 10000 /* a disk that turns needs seconds */

static bool has_file(int sysfs_fd, const char *dir, const char *name, int mode, int *ret_err)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return false;
	if (faccessat(sysfs_fd, path, mode, 0) == 0)
		return true;
	*ret_err = -errno;
	return false;
}

/* The innermost USB device on the way up; else the SCSI device, which is further down. */
static const char *find_attribute(int sysfs_fd, char *dir)
{
	char scsi[PATH_MAX] = "";
	int err;

	do {
		if (has_file(sysfs_fd, dir, "idVendor", F_OK, &err) &&
		    has_file(sysfs_fd, dir, "remove", F_OK, &err))
			return "remove";
		if (!scsi[0] && has_file(sysfs_fd, dir, "scsi_level", F_OK, &err))
			(void)STR_COPY(scsi, dir);
	} while (sysfs_parent(dir) && strchr(dir, '/'));
	(void)str_copy(dir, PATH_MAX, scsi);
	return scsi[0] ? "delete" : NULL;
}

int power_unit_find(int sysfs_fd, const char *kname, struct power_unit *ret_unit)
{
	int r = blockdev_dir(sysfs_fd, kname, ret_unit->dir, sizeof(ret_unit->dir));

	if (r < 0)
		return r;
	ret_unit->attribute = find_attribute(sysfs_fd, ret_unit->dir);
	if (!ret_unit->attribute)
		return -EOPNOTSUPP;
	return has_file(sysfs_fd, ret_unit->dir, ret_unit->attribute, W_OK, &r) ? 0 : r;
}

bool power_unit_has(int sysfs_fd, const struct power_unit *unit, const char *kname)
{
	size_t n = strlen(unit->dir);
	char dir[PATH_MAX];

	return blockdev_dir(sysfs_fd, kname, dir, sizeof(dir)) == 0 &&
	       strncmp(dir, unit->dir, n) == 0 && dir[n] == '/';
}

/* START STOP UNIT (SBC-4, 5.25). Many have no such command, and nothing that turns. */
static void stop(int fd)
{
	unsigned char command[6] = {0x1b};
	unsigned char sense[32];
	struct sg_io_hdr io = {.interface_id = 'S',
			       .dxfer_direction = SG_DXFER_NONE,
			       .cmd_len = sizeof(command),
			       .cmdp = command,
			       .mx_sb_len = sizeof(sense),
			       .sbp = sense,
			       .timeout = STOP_DEADLINE_MS};

	(void)ioctl(fd, SG_IO, &io);
}

/* The disks of a unit, claimed; the descriptors live as long as the child. */
struct claims {
	const struct power_off *what;
	int sysfs_fd;
	int dev_fd;
	int fds[DISKS_MAX];
	unsigned count;
};

/* A claim of the whole disk fails where one of a partition is (bd_may_claim() in block/bdev.c). */
static int claim(const char *kname, void *data)
{
	struct claims *claims = data;
	struct blockdev dev;
	int r;

	if (!power_unit_has(claims->sysfs_fd, &claims->what->unit, kname))
		return 0;
	r = blockdev_read(claims->sysfs_fd, kname, &dev);
	if (r < 0 || dev.partno != 0)
		return r == -ENODEV ? 0 : r; /* gone meanwhile */
	if (claims->count == DISKS_MAX)
		return -E2BIG;
	r = claim_open(claims->dev_fd, dev.kname, dev.devnum);
	if (r < 0)
		return r == -ENXIO || r == -ENOMEDIUM ? 0 : r; /* gone, or an empty slot */
	claims->fds[claims->count++] = r;
	return dev.size_bytes != 0 && fsync(r) < 0 ? -errno : 0;
}

static int write_attribute(const struct power_unit *unit)
{
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX + 32];

	(void)snprintf(path, sizeof(path), "/sys/%s/%s", unit->dir, unit->attribute);
	fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	return fd < 0 || write(fd, "1", 1) < 0 ? -errno : 0;
}

int power_off(const void *data)
{
	const struct power_off *what = data;
	struct claims claims = {.what = what};
	int r;

	claims.sysfs_fd = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	claims.dev_fd = open(what->dev_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (claims.sysfs_fd < 0 || claims.dev_fd < 0)
		return -errno;
	r = blockdev_each(claims.sysfs_fd, claim, &claims);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < claims.count; i++)
		stop(claims.fds[i]);
	r = write_attribute(&what->unit);
	return r == -ENOENT || r == -ENODEV ? 0 : r;
}
