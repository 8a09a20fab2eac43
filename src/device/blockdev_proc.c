#include "device/blockdev_proc.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define BLOCK_BYTES 1024 /* the unit of the sizes */

struct line {
	unsigned major_no;
	unsigned minor_no;
	unsigned long long blocks;
	char kname[LIMIT_KNAME];
};
_Static_assert(LIMIT_KNAME == 64, "the width in line_read()");

static FILE *partitions_open(int proc_fd)
{
	int fd = openat(proc_fd, "partitions", O_RDONLY | O_CLOEXEC);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "re");

	if (!f)
		close_fd(fd); /* keeps errno */
	return f;
}

/* The next line "MAJOR MINOR BLOCKS NAME" (proc(5)); the title and the blank line are left out. */
static bool line_read(FILE *f, struct line *line)
{
	char text[256];

	while (fgets(text, sizeof(text), f))
		if (sscanf(text, "%u %u %llu %63s", &line->major_no, &line->minor_no, &line->blocks,
			   line->kname) == 4)
			return true;
	return false;
}

/*
 * The number of the partition that a name is of a disk, or 0: the disk's name and digits, with a
 * "p" between them if the disk's own ends with a digit (disk_name() in block/genhd.c).
 */
static unsigned partition_of(const char *kname, const char *disk)
{
	size_t n = strlen(disk);
	const char *rest = kname + n;
	char *end;
	unsigned long number;

	if (n == 0 || strncmp(kname, disk, n) != 0)
		return 0;
	if (isdigit((unsigned char)disk[n - 1]) && *rest++ != 'p')
		return 0;
	if (*rest < '1' || *rest > '9')
		return 0;
	number = strtoul(rest, &end, 10);
	return *end || number > UINT16_MAX ? 0 : (unsigned)number;
}

static dev_t line_devnum(const struct line *line)
{
	return makedev(line->major_no, line->minor_no);
}

static void take_itself(const struct line *line, struct blockdev *dev)
{
	dev->devnum = line_devnum(line);
	dev->size_bytes = line->blocks * BLOCK_BYTES;
	if (dev->partno == 0) {
		dev->disk_devnum = dev->devnum;
		(void)STR_COPY(dev->disk, line->kname);
	}
	(void)snprintf(dev->hwid, sizeof(dev->hwid), "%s", line->kname);
}

static void take_other(const struct line *line, struct blockdev *dev)
{
	unsigned number = partition_of(dev->kname, line->kname);

	if (number > 0) {
		dev->partno = number;
		dev->disk_devnum = line_devnum(line);
		(void)STR_COPY(dev->disk, line->kname);
	}
	if (partition_of(line->kname, dev->kname) > 0)
		dev->has_partitions = true;
}

int blockdev_read_proc(int proc_fd, const char *kname, struct blockdev *ret_dev)
{
	struct blockdev dev = {.unknown_hardware = true};
	FILE *f = partitions_open(proc_fd);
	struct line line;
	bool found = false;

	if (!f)
		return is_shortage(-errno) ? -errno : -ENODEV;
	(void)STR_COPY(dev.kname, kname);
	while (line_read(f, &line)) {
		if (streq(line.kname, kname)) {
			take_itself(&line, &dev);
			found = true;
		} else {
			take_other(&line, &dev);
		}
	}
	(void)fclose(f);
	if (found)
		*ret_dev = dev;
	return found ? 0 : -ENODEV;
}

int blockdev_each_proc(int proc_fd, int (*fn)(const char *kname, void *data), void *data)
{
	FILE *f = partitions_open(proc_fd);
	struct line line;
	int r = 0;

	if (!f)
		return is_shortage(-errno) ? -errno : -ENOENT;
	while (r == 0 && line_read(f, &line))
		r = fn(line.kname, data);
	(void)fclose(f);
	return r;
}
