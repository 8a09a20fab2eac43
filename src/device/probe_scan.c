#include "device/probe_scan.h"

#include <fcntl.h>
#include <stdio.h>

#include "device/probe_zfs.h"
#include "device/superblock.h"

static int new_prober(int fd, blkid_probe *ret_prober)
{
	blkid_probe prober = blkid_new_probe();
	int r;

	if (!prober)
		return -ENOMEM;
	errno = 0;
	if (blkid_probe_set_device(prober, fd, 0, 0) != 0) {
		r = errno > 0 ? -errno : -EIO;
		blkid_free_probe(prober);
		return r;
	}
	*ret_prober = prober;
	return 0;
}

#define KIB(n) ((off_t)(n) << 10)
#define PAGE   KIB(4)

/*
 * Where libblkid looks for superblocks (util-linux, libblkid/src/superblocks/): offsets from the
 * start, then from the end, where RAID controllers leave their marks, in sectors.
 */
static const off_t places_from_start[] = {KIB(128),  KIB(256),	KIB(512),
					  KIB(1024), KIB(2048), KIB(4096)};
static const unsigned sectors_from_end[] = {8,	 16,  63,  128, 257, 399, 512,	591,
					    675, 735, 911, 951, 974, 991, 1024, 3087};

/*
 * It reads place after place, each a few hundred bytes, and would wait for the device each time:
 * the kernel is told of all of them at once. Only a hint: what is missing here is read later.
 */
static void announce_reads(int fd, off_t size)
{
	(void)posix_fadvise(fd, 0, KIB(68), POSIX_FADV_WILLNEED);
	for (size_t i = 0; i < ARRAY_SIZE(places_from_start); i++)
		if (places_from_start[i] < size)
			(void)posix_fadvise(fd, places_from_start[i], PAGE, POSIX_FADV_WILLNEED);
	for (size_t i = 0; i < ARRAY_SIZE(sectors_from_end); i++) {
		off_t place = size - (off_t)sectors_from_end[i] * 512;

		if (place >= 0)
			(void)posix_fadvise(fd, place, PAGE, POSIX_FADV_WILLNEED);
	}
	probe_zfs_announce(fd, (uint64_t)size);
}

void probe_scan_init(struct probe_scan *scan, int fd, int disk_fd, const struct blockdev *dev)
{
	off_t size = lseek(fd, 0, SEEK_END);

	*scan = (struct probe_scan){.dev = dev, .fd = fd};
	if (size <= 0) {
		scan->err = size < 0 ? -errno : -ENOMEDIUM;
		return;
	}
	scan->size_bytes = (uint64_t)size;
	announce_reads(fd, size);
	scan->err = new_prober(fd, &scan->content);
	if (scan->err == 0 && disk_fd >= 0)
		(void)new_prober(disk_fd,
				 &scan->disk); /* only the type of the partition needs it */
}

void probe_scan_done(struct probe_scan *scan)
{
	if (scan->content)
		blkid_free_probe(scan->content);
	if (scan->disk)
		blkid_free_probe(scan->disk);
	scan->content = scan->disk = NULL;
}

/* Values are bytes that a NUL may or may not follow. */
static bool copy_value(blkid_probe prober, const char *name, char *ret_text, size_t size)
{
	const char *data;
	size_t n;

	ret_text[0] = '\0';
	if (blkid_probe_lookup_value(prober, name, &data, &n) < 0)
		return false;
	n = MIN(strnlen(data, n), size - 1);
	memcpy(ret_text, data, n);
	ret_text[n] = '\0';
	return true;
}

static void set_failed(struct probe_result *result, int err)
{
	result->outcome = err == -ENOMEDIUM ? PROBE_NO_MEDIUM : PROBE_ERROR;
	result->err = err == -ENOMEDIUM ? 0 : err;
}

static void read_content(struct probe_scan *scan, struct probe_result *result)
{
	static char zfs[] = "zfs_member";
	static char *no_zfs[] = {zfs, NULL};
	blkid_probe prober = scan->content;
	struct superblock_space space;
	int r;

	(void)blkid_probe_enable_superblocks(prober, 1);
	(void)blkid_probe_set_superblocks_flags(prober, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID |
								BLKID_SUBLKS_TYPE |
								BLKID_SUBLKS_USAGE);
	if (!probe_zfs_possible(scan->fd, scan->size_bytes))
		(void)blkid_probe_filter_superblocks_type(prober, BLKID_FLTR_NOTIN, no_zfs);
	(void)blkid_probe_enable_partitions(prober, 1);
	errno = 0;
	r = blkid_do_safeprobe(prober);
	if (r == -2) {
		result->outcome = PROBE_AMBIVALENT;
		return;
	}
	if (r < 0) {
		set_failed(result, errno > 0 ? -errno : -EIO);
		return;
	}
	if (r > 0 || !copy_value(prober, "TYPE", result->fstype, sizeof(result->fstype))) {
		result->outcome = PROBE_NOTHING;
		result->has_partition_table = blkid_probe_has_value(prober, "PTTYPE");
		return;
	}
	result->outcome = PROBE_FOUND;
	(void)copy_value(prober, "USAGE", result->usage, sizeof(result->usage));
	(void)copy_value(prober, "LABEL", result->label, sizeof(result->label));
	(void)copy_value(prober, "UUID", result->uuid, sizeof(result->uuid));
	superblock_read_space(scan->fd, result->fstype, scan->size_bytes, &space);
	result->fs_total_bytes = space.total_bytes;
	result->fs_free_bytes = space.free_bytes;
	result->fs_block_size = space.block_size;
}

/* The entry of the disk's partition table that is where the kernel says the partition is. */
static void read_partition_type(struct probe_scan *scan, struct probe_result *result)
{
	blkid_partlist table;
	blkid_partition entry;
	const char *guid;

	(void)blkid_probe_enable_superblocks(scan->disk, 0);
	(void)blkid_probe_enable_partitions(scan->disk, 1);
	table = blkid_probe_get_partitions(scan->disk);
	if (!table)
		return;
	entry = blkid_partlist_get_partition_by_partno(table, (int)scan->dev->partno);
	if (!entry || (uint64_t)blkid_partition_get_start(entry) != scan->dev->start_sector)
		return;
	guid = blkid_partition_get_type_string(entry);
	if (guid)
		(void)snprintf(result->part_type, sizeof(result->part_type), "%s", guid);
	else
		(void)snprintf(result->part_type, sizeof(result->part_type), "0x%02x",
			       (unsigned)blkid_partition_get_type(entry));
	result->part_flags = blkid_partition_get_flags(entry);
}

void probe_scan_run(struct probe_scan *scan, struct probe_result *ret_result)
{
	struct probe_result result = {0};

	if (!scan->content) {
		set_failed(&result, scan->err);
	} else {
		read_content(scan, &result);
		if (scan->disk && scan->dev->partno != 0)
			read_partition_type(scan, &result);
	}
	*ret_result = result;
}

void probe_fd(int fd, int disk_fd, const struct blockdev *dev, struct probe_result *ret_result)
{
	_cleanup_(probe_scan_done) struct probe_scan scan;

	probe_scan_init(&scan, fd, disk_fd, dev);
	probe_scan_run(&scan, ret_result);
}
