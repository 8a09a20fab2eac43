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

/* class/block/NAME is a link to ../../devices/.../NAME. */
int blockdev_dir(int sysfs_fd, const char *kname, char *ret_dir, size_t size)
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

static int read_devnum(struct sysfs *sysfs, const char *dir, dev_t *ret_devnum)
{
	unsigned major_no, minor_no;
	char text[32];
	int r = sysfs_read(sysfs, dir, "dev", text, sizeof(text));

	if (r < 0)
		return r == -ENOENT || r == -ENXIO ? -ENODEV : r;
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
static bool dir_has(struct sysfs *sysfs, const char *dir, const char *sub, const char *attribute)
{
	_cleanup_(closedirp) DIR *d = NULL;
	char path[PATH_MAX];
	struct dirent *entry;
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", dir, sub) >= (int)sizeof(path))
		return false;
	fd = openat(sysfs->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		(void)sysfs_failed(sysfs, -errno);
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
static void read_drive(struct sysfs *sysfs, const char *dir, struct blockdev *dev)
{
	char device[PATH_MAX];
	char text[64];

	if (!dev->removable || sysfs_read(sysfs, dir, "events", text, sizeof(text)) < 0 ||
	    !strstr(text, "media_change"))
		return;
	if (snprintf(device, sizeof(device), "%s/device", dir) >= (int)sizeof(device))
		return;
	sysfs_read_link(sysfs, device, "subsystem", text, sizeof(text));
	if (streq(text, "scsi"))
		sysfs_read_link(sysfs, dir, "device", dev->drive, sizeof(dev->drive));
}

static uint64_t inode_of(struct sysfs *sysfs, const char *dir)
{
	struct stat st;

	if (fstatat(sysfs->fd, dir, &st, 0) == 0)
		return st.st_ino;
	(void)sysfs_failed(sysfs, -errno);
	return 0;
}

/*
 * The file behind a loop device is not the same for ever, but then the kernel counts another disk
 * (diskseq, Linux 5.15); it may have another name.
 */
static bool same_hardware(const struct blockdev *known, const struct blockdev *dev)
{
	bool same_usb;
	bool same_seq;

	if (!known || known->partno != dev->partno)
		return false;
	same_usb = known->bus == BLOCKDEV_BUS_USB && known->inode != 0 &&
		   known->inode == dev->inode;
	same_seq = known->bus == BLOCKDEV_BUS_VIRTUAL && known->diskseq != 0 &&
		   known->diskseq == dev->diskseq && known->devnum == dev->devnum;
	return same_usb || same_seq;
}

static void read_hardware(struct sysfs *sysfs, const char *dir, const struct blockdev *known,
			  struct blockdev *dev)
{
	dev->inode = inode_of(sysfs, dir);
	if (!same_hardware(known, dev)) {
		blockdev_read_hardware(sysfs, dir, dev);
		return;
	}
	dev->bus = known->bus;
	(void)STR_COPY(dev->vendor, known->vendor);
	(void)STR_COPY(dev->model, known->model);
	(void)STR_COPY(dev->hwid, known->hwid);
}

static int read_disk(struct sysfs *sysfs, const char *dir, const struct blockdev *known,
		     struct blockdev *dev)
{
	const char *base = strrchr(dir, '/');
	int r = read_devnum(sysfs, dir, &dev->disk_devnum);

	if (r < 0)
		return r;
	if (!base || !kname_valid(base + 1))
		return -ENODEV;
	(void)STR_COPY(dev->disk, base + 1);
	dev->diskseq = sysfs_read_number(sysfs, dir, "diskseq");
	dev->removable = sysfs_read_number(sysfs, dir, "removable") == 1;
	dev->hidden = sysfs_read_number(sysfs, dir, "hidden") == 1;
	dev->read_only |= sysfs_read_number(sysfs, dir, "ro") == 1;
	read_drive(sysfs, dir, dev);
	if (dev->partno == 0)
		dev->has_partitions = dir_has(sysfs, dir, ".", "partition");
	read_hardware(sysfs, dir, known, dev);
	return 0;
}

/* Takes no descriptor: that a device is gone is noticed also when there is none to be had. */
static bool has_sysfs(int sysfs_fd)
{
	return faccessat(sysfs_fd, "class/block", F_OK, 0) == 0;
}

int blockdev_open(bool *ret_sysfs)
{
	_cleanup_close_ int fd = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool sysfs = fd >= 0 && has_sysfs(fd);
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
	struct sysfs sysfs = {.fd = sysfs_fd};
	struct blockdev dev = {0};
	char dir[PATH_MAX];
	int r;

	if (!kname_valid(kname))
		return -EINVAL;
	(void)STR_COPY(dev.kname, kname);
	r = blockdev_dir(sysfs_fd, kname, dir, sizeof(dir));
	if (r == -ENODEV && !has_sysfs(sysfs_fd))
		return blockdev_read_proc(sysfs_fd, kname, ret_dev);
	if (r == 0)
		r = read_devnum(&sysfs, dir, &dev.devnum);
	if (r < 0)
		return r;
	dev.partno = (unsigned)sysfs_read_number(&sysfs, dir, "partition");
	dev.start_sector = sysfs_read_number(&sysfs, dir, "start");
	dev.size_bytes = sysfs_read_number(&sysfs, dir, "size") * SECTOR_BYTES;
	dev.read_only = sysfs_read_number(&sysfs, dir, "ro") == 1;
	dev.has_holders = dir_has(&sysfs, dir, "holders", NULL);
	if (dev.partno != 0 && !sysfs_parent(dir))
		return -ENODEV;
	r = read_disk(&sysfs, dir, known, &dev);
	if (r == 0)
		r = sysfs.err; /* half of the facts are another device */
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
