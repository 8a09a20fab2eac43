#include "sysdisk.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "device/blockdev.h"

#define MAX_DEPTH     8 /* of devices built on devices */
#define RESOLVE_TRIES 20

struct places {
	int proc_fd;
	int sysfs_fd;
	int dev_fd;
};

static int add_disk(struct sysdisk *s, dev_t disk)
{
	dev_t *larger;

	if (sysdisk_has(s, disk))
		return 0;
	if (s->count == s->room) {
		larger = reallocarray(s->disks, s->room + 16, sizeof(*larger));
		if (!larger)
			return -ENOMEM;
		s->disks = larger;
		s->room += 16;
	}
	s->disks[s->count++] = disk;
	return 0;
}

/* Reads a "MAJOR:MINOR" attribute. */
static int read_devnum(int dir_fd, const char *path, dev_t *ret_devnum)
{
	_cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
	char text[32] = "";
	unsigned maj;
	unsigned min;

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		return -errno;
	if (sscanf(text, "%u:%u", &maj, &min) != 2)
		return -EINVAL;
	*ret_devnum = makedev(maj, min);
	return 0;
}

struct lookup {
	int sysfs_fd;
	dev_t devnum;
	dev_t disk; /* 0: not found */
};

static int look_up(const char *kname, void *data)
{
	struct lookup *lookup = data;
	struct blockdev dev;

	if (blockdev_read(lookup->sysfs_fd, kname, &dev) == 0 && dev.devnum == lookup->devnum)
		lookup->disk = dev.disk_devnum;
	return lookup->disk != 0;
}

/*
 * Where there is no sysfs: what is below a device that is built on others stays unknown. Else it is
 * no block device: tmpfs, overlay and so on.
 */
static int add_unknown(struct sysdisk *s, int sysfs_fd, dev_t devnum)
{
	struct lookup lookup = {.sysfs_fd = sysfs_fd, .devnum = devnum};

	if (faccessat(sysfs_fd, "class/block", F_OK, 0) == 0)
		return 0;
	(void)blockdev_each(sysfs_fd, look_up, &lookup);
	return lookup.disk ? add_disk(s, lookup.disk) : 0;
}

static int add_device(struct sysdisk *s, int sysfs_fd, dev_t devnum, unsigned depth);

/* dm, md and the like: slaves/NAME is a link to each device below. */
static int add_slaves(struct sysdisk *s, int sysfs_fd, int device_fd, unsigned depth)
{
	int fd = openat(device_fd, "slaves", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	char path[NAME_MAX + 8];
	dev_t devnum;
	int r = 0;

	if (!dir) {
		r = is_shortage(-errno) ? -errno : 0;
		close_fd(fd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir))) {
		(void)snprintf(path, sizeof(path), "%s/dev", entry->d_name);
		if (entry->d_name[0] == '.')
			continue;
		r = read_devnum(dirfd(dir), path, &devnum);
		if (r == 0)
			r = add_device(s, sysfs_fd, devnum, depth + 1);
		else if (!is_shortage(r))
			r = 0;
	}
	(void)closedir(dir);
	return r;
}

/* The directory above a partition's is its disk's. */
static int add_device(struct sysdisk *s, int sysfs_fd, dev_t devnum, unsigned depth)
{
	_cleanup_close_ int device = -EBADF;
	char path[64];
	dev_t disk = devnum;
	int r;

	if (depth > MAX_DEPTH)
		return 0;
	(void)snprintf(path, sizeof(path), "dev/block/%u:%u", major(devnum), minor(devnum));
	device = openat(sysfs_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (device < 0 && is_shortage(-errno))
		return -errno;
	if (device < 0)
		return add_unknown(s, sysfs_fd, devnum);
	r = faccessat(device, "partition", F_OK, 0) == 0 ? read_devnum(device, "../dev", &disk) : 0;
	if (is_shortage(r))
		return r;
	r = add_disk(s, disk);
	return r < 0 ? r : add_slaves(s, sysfs_fd, device, depth);
}

/*
 * Anybody who may mount chooses the source: it must not lead out of the directory of devices, nor
 * into a mount in there, whose server may never answer, or is our own. Links of udev (mapper/NAME,
 * disk/by-uuid/...) stay in there.
 */
static int node_devnum(int dev_fd, const char *name, dev_t *ret_devnum)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
	};
	_cleanup_close_ int fd = -EBADF;
	struct stat st;

	for (int i = 0; i < RESOLVE_TRIES && fd < 0; i++) {
		fd = (int)syscall(SYS_openat2, dev_fd, name, &how, sizeof(how));
		if (fd < 0 && errno != EAGAIN) /* something was renamed meanwhile */
			break;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISBLK(st.st_mode))
		return -ENOTBLK;
	*ret_devnum = st.st_rdev;
	return 0;
}

/* Where nodes are mounted one by one, or not there: most have the kernel's own name. */
static int named_devnum(int sysfs_fd, const char *name, dev_t *ret_devnum)
{
	char path[NAME_MAX + 32];
	char *p;

	if (name[0] == '.' || strlen(name) > NAME_MAX)
		return -ENODEV;
	(void)snprintf(path, sizeof(path), "class/block/%s/dev", name);
	p = path + strlen("class/block/");
	for (char *end = p + strlen(name); p < end; p++)
		if (*p == '/')
			*p = '!'; /* cciss/c0d0 */
	return read_devnum(sysfs_fd, path, ret_devnum);
}

/* By the path of a node, as btrfs and swap name their devices. */
static int add_path(struct sysdisk *s, const struct places *at, const char *path)
{
	const char *name = path + strlen("/dev/");
	dev_t devnum;
	int r;

	if (strncmp(path, "/dev/", strlen("/dev/")) != 0)
		return 0;
	r = node_devnum(at->dev_fd, name, &devnum);
	if (r < 0 && !is_shortage(r))
		r = named_devnum(at->sysfs_fd, name, &devnum);
	if (r < 0)
		return is_shortage(r) ? r : 0;
	return add_device(s, at->sysfs_fd, devnum, 0);
}

/*
 * "ID PARENT MAJOR:MINOR ROOT TARGET OPTIONS [TAGS] - TYPE SOURCE SUPEROPTIONS" (proc(5)). A
 * filesystem with an anonymous number (major 0) may still name its device as the source.
 */
static int add_mount(struct sysdisk *s, const struct places *at, char *line)
{
	char *tail = strstr(line, " - ");
	char source[PATH_MAX];
	unsigned maj;
	unsigned min;

	if (!tail || sscanf(line, "%*u %*u %u:%u", &maj, &min) != 2)
		return 0;
	if (maj != 0)
		return add_device(s, at->sysfs_fd, makedev(maj, min), 0);
	return sscanf(tail, " - %*s %4095s", source) == 1 ? add_path(s, at, source) : 0;
}

/*
 * "FILENAME TYPE SIZE USED PRIORITY", below a line of titles. A file's disk is that of its mount.
 */
static int add_swap(struct sysdisk *s, const struct places *at, char *line)
{
	char path[PATH_MAX];

	return sscanf(line, "%4095s", path) == 1 ? add_path(s, at, path) : 0;
}

static int read_lines(struct sysdisk *s, const struct places *at, const char *path,
		      int (*add)(struct sysdisk *, const struct places *, char *))
{
	int fd = openat(at->proc_fd, path, O_RDONLY | O_CLOEXEC);
	FILE *f = fd >= 0 ? fdopen(fd, "re") : NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int r = 0;

	if (!f) {
		r = -errno;
		close_fd(fd);
		return r;
	}
	while (r == 0 && getline(&line, &size, f) > 0)
		r = add(s, at, line);
	(void)fclose(f);
	return r;
}

int sysdisk_read(struct sysdisk *sysdisk, int proc_fd, int sysfs_fd, int dev_fd)
{
	const struct places at = {.proc_fd = proc_fd, .sysfs_fd = sysfs_fd, .dev_fd = dev_fd};
	struct sysdisk s = SYSDISK_NULL;
	int r = read_lines(&s, &at, "self/mountinfo", add_mount);

	if (r == 0)
		r = read_lines(&s, &at, "swaps", add_swap);
	if (r < 0 && r != -ENOENT) {
		sysdisk_done(&s);
		return r;
	}
	sysdisk_done(sysdisk);
	*sysdisk = s;
	return 0;
}

void sysdisk_done(struct sysdisk *sysdisk)
{
	free(sysdisk->disks);
	*sysdisk = (struct sysdisk)SYSDISK_NULL;
}

bool sysdisk_has(const struct sysdisk *sysdisk, dev_t disk)
{
	for (size_t i = 0; i < sysdisk->count; i++)
		if (sysdisk->disks[i] == disk)
			return true;
	return false;
}
