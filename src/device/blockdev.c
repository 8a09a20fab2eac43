#include "device/blockdev.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "device/blockdev_hardware.h"
#include "device/blockdev_proc.h"
#include "device/sysfs.h"

#define SECTOR_BYTES 512 /* the unit of size and start, whatever the device's own sectors are */

static bool kname_valid(const char *kname)
{
	size_t n = strnlen(kname, LIMIT_KNAME);

	return n > 0 && n < LIMIT_KNAME && !strchr(kname, '/') && !streq(kname, ".") &&
	       !streq(kname, "..");
}

/*
 * The device's directory relative to /sys. class/block/NAME is a link to ../../devices/.../NAME.
 */
static int device_dir(int sysfs_fd, const char *kname, char *ret_dir, size_t size)
{
	static const char up[] = "../../";
	char path[LIMIT_KNAME + 16];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "class/block/%s", kname);
	n = readlinkat(sysfs_fd, path, ret_dir, size - 1);
	if (n < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	ret_dir[n] = '\0';
	if (strncmp(ret_dir, up, strlen(up)) != 0)
		return -ENODEV;
	memmove(ret_dir, ret_dir + strlen(up), (size_t)n + 1 - strlen(up));
	return strncmp(ret_dir, "devices/", 8) == 0 ? 0 : -ENODEV;
}

static int read_devnum(int sysfs_fd, const char *dir, dev_t *ret_devnum)
{
	unsigned major_no, minor_no;
	char text[32];

	if (sysfs_read(sysfs_fd, dir, "dev", text, sizeof(text)) < 0)
		return -ENODEV;
	if (sscanf(text, "%u:%u", &major_no, &minor_no) != 2)
		return -ENODEV;
	*ret_devnum = makedev(major_no, minor_no);
	return 0;
}

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/*
 * Whether the directory dir/sub has an entry, or with attribute: a directory that has this
 * attribute.
 */
static bool dir_has(int sysfs_fd, const char *dir, const char *sub, const char *attribute)
{
	_cleanup_(closedirp) DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, sub) >= (int)sizeof(path))
		return false;
	fd = openat(sysfs_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		close_fd(fd);
		return false;
	}
	while ((entry = readdir(d))) {
		char name[sizeof(entry->d_name) + 32];

		if (entry->d_name[0] == '.')
			continue;
		if (!attribute)
			return true;
		if (entry->d_type != DT_DIR && entry->d_type != DT_UNKNOWN)
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s", entry->d_name, attribute);
		if (faccessat(fd, name, F_OK, 0) == 0)
			return true;
	}
	return false;
}

/* The block layer's "events" (Documentation/ABI/stable/sysfs-block) and the SCSI device below. */
static void read_drive(int sysfs_fd, const char *dir, struct blockdev *dev)
{
	char device[PATH_MAX];
	char text[64];

	if (!dev->removable || sysfs_read(sysfs_fd, dir, "events", text, sizeof(text)) < 0 ||
	    !strstr(text, "media_change"))
		return;
	if (snprintf(device, sizeof(device), "%s/device", dir) >= (int)sizeof(device))
		return;
	sysfs_read_link(sysfs_fd, device, "subsystem", text, sizeof(text));
	if (streq(text, "scsi"))
		sysfs_read_link(sysfs_fd, dir, "device", dev->drive, sizeof(dev->drive));
}

static uint64_t inode_of(int sysfs_fd, const char *dir)
{
	struct stat st;

	return fstatat(sysfs_fd, dir, &st, 0) < 0 ? 0 : st.st_ino;
}

/* Not for loop devices and the like: the file behind one is not the same for ever. */
static bool same_hardware(const struct blockdev *known, const struct blockdev *dev)
{
	return known && known->bus == BLOCKDEV_BUS_USB && known->inode != 0 &&
	       known->inode == dev->inode && known->partno == dev->partno;
}

static void read_hardware(int sysfs_fd, const char *dir, const struct blockdev *known,
			  struct blockdev *dev)
{
	dev->inode = inode_of(sysfs_fd, dir);
	if (!same_hardware(known, dev)) {
		blockdev_read_hardware(sysfs_fd, dir, dev);
		return;
	}
	dev->bus = known->bus;
	(void)STR_COPY(dev->vendor, known->vendor);
	(void)STR_COPY(dev->model, known->model);
	(void)STR_COPY(dev->hwid, known->hwid);
}

static int read_disk(int sysfs_fd, const char *dir, const struct blockdev *known,
		     struct blockdev *dev)
{
	const char *base = strrchr(dir, '/');
	int r = read_devnum(sysfs_fd, dir, &dev->disk_devnum);

	if (r < 0)
		return r;
	if (!base || !kname_valid(base + 1))
		return -ENODEV;
	(void)STR_COPY(dev->disk, base + 1);
	dev->diskseq = sysfs_read_number(sysfs_fd, dir, "diskseq");
	dev->removable = sysfs_read_number(sysfs_fd, dir, "removable") == 1;
	dev->hidden = sysfs_read_number(sysfs_fd, dir, "hidden") == 1;
	dev->read_only |= sysfs_read_number(sysfs_fd, dir, "ro") == 1;
	read_drive(sysfs_fd, dir, dev);
	if (dev->partno == 0)
		dev->has_partitions = dir_has(sysfs_fd, dir, ".", "partition");
	read_hardware(sysfs_fd, dir, known, dev);
	return 0;
}

int blockdev_open(bool *ret_sysfs)
{
	_cleanup_close_ int fd = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool sysfs = fd >= 0 && faccessat(fd, "class/block", F_OK, 0) == 0;
	int proc;

	if (ret_sysfs)
		*ret_sysfs = sysfs;
	if (sysfs)
		return TAKE_FD(fd);
	proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return proc < 0 ? -errno : proc;
}

static int read_device(int sysfs_fd, const char *kname, const struct blockdev *known,
		       struct blockdev *ret_dev)
{
	struct blockdev dev = {0};
	char dir[PATH_MAX];
	int r;

	if (!kname_valid(kname))
		return -EINVAL;
	(void)STR_COPY(dev.kname, kname);
	r = device_dir(sysfs_fd, kname, dir, sizeof(dir));
	if (r == -ENODEV)
		return blockdev_read_proc(sysfs_fd, kname, ret_dev);
	if (r == 0)
		r = read_devnum(sysfs_fd, dir, &dev.devnum);
	if (r < 0)
		return r;
	dev.partno = (unsigned)sysfs_read_number(sysfs_fd, dir, "partition");
	dev.start_sector = sysfs_read_number(sysfs_fd, dir, "start");
	dev.size_bytes = sysfs_read_number(sysfs_fd, dir, "size") * SECTOR_BYTES;
	dev.read_only = sysfs_read_number(sysfs_fd, dir, "ro") == 1;
	dev.has_holders = dir_has(sysfs_fd, dir, "holders", NULL);
	if (dev.partno != 0 && !sysfs_parent(dir))
		return -ENODEV;
	r = read_disk(sysfs_fd, dir, known, &dev);
	if (r == 0)
		*ret_dev = dev;
	return r;
}

int blockdev_read(int sysfs_fd, const char *kname, struct blockdev *ret_dev)
{
	return read_device(sysfs_fd, kname, NULL, ret_dev);
}

int blockdev_read_again(int sysfs_fd, const struct blockdev *known, struct blockdev *ret_dev)
{
	return read_device(sysfs_fd, known->kname, known, ret_dev);
}

int blockdev_each(int sysfs_fd, int (*fn)(const char *kname, void *data), void *data)
{
	_cleanup_(closedirp) DIR *d = NULL;
	struct dirent *entry;
	int fd = openat(sysfs_fd, "class/block", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0 && errno == ENOENT)
		return blockdev_each_proc(sysfs_fd, fn, data);
	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		r = -errno;
		close_fd(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			r = fn(entry->d_name, data);
	return r;
}
