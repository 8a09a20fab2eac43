/*
 * Probing of images made here with mkfs (a type whose mkfs is missing is skipped), and of a loop
 * device where the tests may make one.
 */
#include <fcntl.h>
#include <linux/loop.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "device/probe.h"
#include "device/superblock.h"

#define MIB (1024ull * 1024)

struct image {
	char path[64];
	int fd;
};

static int image_setup(void **state)
{
	struct image *image = calloc(1, sizeof(*image));

	assert_non_null(image);
	(void)STR_COPY(image->path, "/tmp/hotplugfs-image-XXXXXX");
	image->fd = mkostemp(image->path, O_CLOEXEC);
	assert_true(image->fd >= 0);
	*state = image;
	return 0;
}

static int image_teardown(void **state)
{
	struct image *image = *state;

	close(image->fd);
	(void)unlink(image->path);
	free(image);
	return 0;
}

static int shell(const char *command)
{
	return system(command); /* NOLINT(cert-env33-c): fixed commands on files of this test */
}

static void put_u64(const struct image *image, uint64_t value, uint64_t offset)
{
	assert_int_equal(pwrite(image->fd, &value, sizeof(value), (off_t)offset), sizeof(value));
}

/*
 * As the label of a member of a ZFS pool looks to who only looks for it: the number before the
 * checksum of its configuration, and four uberblocks.
 */
static void put_zfs_label(const struct image *image, uint64_t place, uint64_t mark)
{
	put_u64(image, mark, place + 128 * 1024 - 40);
	for (uint64_t i = 4; i < 8; i++)
		put_u64(image, 0x00bab10c, place + (128 + i) * 1024);
}

/* Skips the test where there is no such mkfs. */
static void make_filesystem(const struct image *image, const char *mkfs, uint64_t bytes)
{
	char command[512];

	(void)snprintf(
		command, sizeof(command),
		"PATH=$PATH:/usr/sbin:/sbin; set -- %s %s; command -v $1 >/dev/null || exit 77;"
		"\"$@\" >/dev/null 2>&1",
		mkfs, image->path);
	assert_int_equal(ftruncate(image->fd, 0), 0);
	assert_int_equal(ftruncate(image->fd, (off_t)bytes), 0);
	int status = shell(command);
	if (status == 77 << 8)
		skip();
	assert_int_equal(status, 0);
}

static void probe_image(const struct image *image, struct probe_result *result)
{
	static const struct blockdev dev = {.kname = "image", .disk = "image"};

	probe_fd(image->fd, -EBADF, &dev, result);
}

/* A filesystem of bytes was found; when its space is known it is nearly all of it, and free. */
static void assert_found(const struct probe_result *result, const char *fstype, const char *label,
			 uint64_t bytes)
{
	assert_int_equal(result->outcome, PROBE_FOUND);
	assert_string_equal(result->usage, "filesystem");
	assert_string_equal(result->fstype, fstype);
	assert_string_equal(result->label, label);
	assert_true(result->uuid[0] != '\0');
	assert_false(result->has_partition_table);
	assert_in_range(result->fs_total_bytes, bytes * 8 / 10, bytes);
	assert_in_range(result->fs_free_bytes, bytes * 6 / 10, result->fs_total_bytes);
	assert_in_range(result->fs_block_size, 512, 65536);
}

static void finds_ext4(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.ext4 -F -L BACKUP -E lazy_itable_init=0", 64 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "ext4", "BACKUP", 64 * MIB);
	assert_int_equal(strlen(result.uuid), 36);
}

static void finds_ext2_without_journal(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.ext2 -F -b 1024 -L small", 4 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "ext2", "small", 4 * MIB);
	assert_int_equal(result.fs_block_size, 1024);
}

static void finds_xfs(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.xfs -q -f -L scratch", 400 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "xfs", "scratch", 400 * MIB);
}

static void finds_btrfs(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.btrfs -q -f -L tree", 128 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "btrfs", "tree", 128 * MIB);
}

static void finds_fat(void **state)
{
	static const struct {
		const char *mkfs;
		uint64_t bytes;
	} kinds[] = {
		{"mkfs.vfat -F 12 -n STICK", 2 * MIB},
		{"mkfs.vfat -F 16 -n STICK", 32 * MIB},
		{"mkfs.vfat -F 32 -n STICK", 64 * MIB},
	};
	struct probe_result result;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		make_filesystem(*state, kinds[i].mkfs, kinds[i].bytes);
		probe_image(*state, &result);
		assert_found(&result, "vfat", "STICK", kinds[i].bytes);
		assert_int_equal(strlen(result.uuid), 9);
	}
}

static void finds_exfat(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.exfat -L CAMERA", 64 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "exfat", "CAMERA", 64 * MIB);
}

/* What a superblock does not tell is the most that it can be, so that nobody has to mount it. */
static void bounds_space_that_is_not_told(void **state)
{
	static const struct {
		const char *mkfs;
		const char *fstype;
	} kinds[] = {{"mkntfs -q -F -f", "ntfs"}, {"mkfs.f2fs -q -f", "f2fs"}};
	const struct image *image = *state;
	const uint64_t bytes = 64 * MIB;
	struct superblock_space space;
	struct probe_result result;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		make_filesystem(image, kinds[i].mkfs, bytes);
		probe_image(image, &result);
		assert_string_equal(result.fstype, kinds[i].fstype);
		assert_int_equal(result.fs_total_bytes, bytes);
		assert_int_equal(result.fs_free_bytes, bytes);
		assert_int_equal(result.fs_block_size, 0);
	}
	superblock_read_space(image->fd, "squashfs", bytes, &space);
	assert_int_equal(space.total_bytes, bytes);
	assert_int_equal(space.free_bytes, 0);
}

/* Debian 12 has no program that makes one. */
static void reads_the_space_of_hfsplus(void **state)
{
	static const uint8_t numbers[] = {0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 8, 0};
	const struct image *image = *state;
	struct superblock_space space;

	assert_int_equal(ftruncate(image->fd, (off_t)(16 * MIB)), 0);
	assert_int_equal(pwrite(image->fd, "H+", 2, 1024), 2);
	assert_int_equal(pwrite(image->fd, numbers, sizeof(numbers), 1024 + 40), sizeof(numbers));
	superblock_read_space(image->fd, "hfsplus", 32 * MIB, &space);
	assert_int_equal(space.total_bytes, 16 * MIB);
	assert_int_equal(space.free_bytes, 8 * MIB);
	assert_int_equal(space.block_size, 4096);
}

static void finds_what_is_no_filesystem(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkswap -L swapspace", 4 * MIB);
	probe_image(*state, &result);
	assert_int_equal(result.outcome, PROBE_FOUND);
	assert_string_equal(result.usage, "other");
	assert_string_equal(result.fstype, "swap");
	assert_int_equal(result.fs_total_bytes, 0);
}

static void finds_nothing(void **state)
{
	const struct image *image = *state;
	struct probe_result result;

	assert_int_equal(ftruncate(image->fd, (off_t)MIB), 0);
	probe_image(image, &result);
	assert_int_equal(result.outcome, PROBE_NOTHING);
	assert_int_equal(ftruncate(image->fd, 0), 0);
	probe_image(image, &result);
	assert_int_equal(result.outcome, PROBE_NO_MEDIUM);
	assert_int_equal(ftruncate(image->fd, 1), 0);
	probe_image(image, &result);
	assert_true(result.outcome == PROBE_NOTHING || result.outcome == PROBE_ERROR);
}

/* An ext4 filesystem made over btrfs, whose superblock stayed behind. */
static void finds_contradiction(void **state)
{
	const struct image *image = *state;
	struct probe_result result;
	char btrfs[4096];

	make_filesystem(image, "mkfs.btrfs -q -f", 128 * MIB);
	assert_int_equal(pread(image->fd, btrfs, sizeof(btrfs), 65536), sizeof(btrfs));
	make_filesystem(image, "mkfs.ext4 -q -F", 128 * MIB);
	assert_int_equal(pwrite(image->fd, btrfs, sizeof(btrfs), 65536), sizeof(btrfs));
	probe_image(image, &result);
	assert_int_equal(result.outcome, PROBE_AMBIVALENT);
}

/* An MBR table with one entry: type, start and length in sectors. */
static void put_mbr(int fd, uint8_t type, uint32_t start, uint32_t sectors)
{
	uint8_t mbr[512] = {0};

	mbr[446 + 4] = type;
	for (int i = 0; i < 4; i++) {
		mbr[446 + 8 + i] = (uint8_t)(start >> 8 * i);
		mbr[446 + 12 + i] = (uint8_t)(sectors >> 8 * i);
	}
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	assert_int_equal(pwrite(fd, mbr, sizeof(mbr), 0), sizeof(mbr));
}

static void tells_the_partition_type(void **state)
{
	const struct image *image = *state;
	struct blockdev dev = {.kname = "x1", .disk = "x", .partno = 1, .start_sector = 64};
	struct probe_result result;

	make_filesystem(image, "mkfs.vfat -n PART", 4 * MIB);
	char disk_path[] = "/tmp/hotplugfs-disk-XXXXXX";
	_cleanup_close_ int disk_fd = mkostemp(disk_path, O_CLOEXEC);
	assert_true(disk_fd >= 0);
	(void)unlink(disk_path);
	assert_int_equal(ftruncate(disk_fd, (off_t)(8 * MIB)), 0);
	put_mbr(disk_fd, 0xef, 64, 8192);
	probe_fd(image->fd, disk_fd, &dev, &result);
	assert_int_equal(result.outcome, PROBE_FOUND);
	assert_string_equal(result.label, "PART");
	assert_string_equal(result.part_type, "0xef");
	/* the kernel's partition is somewhere else: the entry is not its */
	dev.start_sector = 65;
	probe_fd(image->fd, disk_fd, &dev, &result);
	assert_string_equal(result.part_type, "");
	dev.start_sector = 64;
	dev.partno = 4;
	probe_fd(image->fd, disk_fd, &dev, &result);
	assert_string_equal(result.part_type, "");

	static const struct blockdev disk = {.kname = "x", .disk = "x"};
	probe_fd(disk_fd, -EBADF, &disk, &result);
	assert_int_equal(result.outcome, PROBE_NOTHING);
	assert_true(result.has_partition_table);
}

/* Whatever the disk says, the numbers stay within the device and nothing goes out of bounds. */
static void survives_damage(void **state)
{
	static const char *const mkfs[] = {"mkfs.ext4 -q -F", "mkfs.vfat -F 32", "mkfs.vfat -F 16",
					   "mkfs.btrfs -q -f"};
	const struct image *image = *state;
	const uint64_t bytes = 128 * MIB;
	unsigned seed = 1;

	for (size_t i = 0; i < ARRAY_SIZE(mkfs); i++) {
		make_filesystem(image, mkfs[i], bytes);
		for (unsigned round = 0; round < 100; round++) {
			off_t base = i == 3 ? 65536 : 0;
			off_t at = base + (off_t)(rand_r(&seed) % 2048);
			uint8_t old, new = (uint8_t)rand_r(&seed);
			struct probe_result result;

			assert_int_equal(pread(image->fd, &old, 1, at), 1);
			assert_int_equal(pwrite(image->fd, &new, 1, at), 1);
			probe_image(image, &result);
			assert_true(result.fs_total_bytes <= bytes);
			assert_true(result.fs_free_bytes <= result.fs_total_bytes);
			if (round % 3)
				assert_int_equal(pwrite(image->fd, &old, 1, at), 1);
		}
	}
}

struct loopdev {
	int fd;
	char kname[LIMIT_KNAME];
};

/* Attaches the image to a free loop device; skips where that is not allowed. */
static void loop_attach(const struct image *image, struct loopdev *loop)
{
	_cleanup_close_ int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = {.fd = (uint32_t)image->fd,
				     .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
	char path[LIMIT_KNAME + 8];

	if (control < 0)
		skip();
	for (int tries = 0; tries < 20; tries++) {
		int n = ioctl(control, LOOP_CTL_GET_FREE);

		if (n < 0)
			skip();
		(void)snprintf(loop->kname, sizeof(loop->kname), "loop%d", n);
		(void)snprintf(path, sizeof(path), "/dev/loop%d", n);
		loop->fd = open(path, O_RDWR | O_CLOEXEC);
		if (loop->fd < 0)
			skip();
		if (ioctl(loop->fd, LOOP_CONFIGURE, &config) == 0)
			return;
		loop->fd = close_fd(loop->fd);
	}
	skip();
}

#define ZFS_MARK 0x0210da7ab10c7a11ull

static void finds_zfs_members(void **state)
{
	static const uint64_t marks[] = {ZFS_MARK, __builtin_bswap64(ZFS_MARK)};
	const uint64_t places[] = {0, 256 * 1024, 64 * MIB - 512 * 1024, 64 * MIB - 256 * 1024};
	const struct image *image = *state;
	struct probe_result result;

	for (size_t i = 0; i < ARRAY_SIZE(places) * ARRAY_SIZE(marks); i++) {
		assert_int_equal(ftruncate(image->fd, 0), 0);
		/* labels are where a whole number of them would end */
		assert_int_equal(ftruncate(image->fd, 64 * MIB + 100 * 1024), 0);
		put_zfs_label(image, places[i / ARRAY_SIZE(marks)], marks[i % ARRAY_SIZE(marks)]);
		probe_image(image, &result);
		assert_int_equal(result.outcome, PROBE_FOUND);
		assert_string_equal(result.fstype, "zfs_member");
	}
}

/* A disk that was given to a pool keeps the superblock of the filesystem that it had before. */
static void finds_zfs_behind_another_filesystem(void **state)
{
	struct probe_result result;

	make_filesystem(*state, "mkfs.ext4 -q -F -L BEFORE", 64 * MIB);
	probe_image(*state, &result);
	assert_found(&result, "ext4", "BEFORE", 64 * MIB);
	put_zfs_label(*state, 64 * MIB - 256 * 1024, ZFS_MARK);
	probe_image(*state, &result);
	assert_int_equal(result.outcome, PROBE_AMBIVALENT);
}

static void probes_a_device_in_a_child(void **state)
{
	_cleanup_close_ int sysfs_fd = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int dev_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int no_nodes_fd = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct probe_result result;
	struct blockdev dev;
	struct loopdev loop;

	make_filesystem(*state, "mkfs.ext4 -q -F -L CHILD", 16 * MIB);
	loop_attach(*state, &loop);
	assert_int_equal(blockdev_read(sysfs_fd, loop.kname, &dev), 0);
	assert_int_equal(probe_wait(dev_fd, &dev, 10000, &result), 0);
	assert_found(&result, "ext4", "CHILD", 16 * MIB);
	/* without a node it makes its own, if it may */
	assert_int_equal(probe_wait(no_nodes_fd, &dev, 10000, &result), 0);
	if (result.outcome != PROBE_ERROR)
		assert_found(&result, "ext4", "CHILD", 16 * MIB);
	/* a device that is not the one that was meant */
	dev.devnum++;
	(void)STR_COPY(dev.kname, "null");
	assert_int_equal(probe_wait(dev_fd, &dev, 10000, &result), 0);
	assert_true(result.outcome == PROBE_ERROR || result.outcome == PROBE_NO_MEDIUM ||
		    result.outcome == PROBE_NOTHING);
	close(loop.fd);
}

static void ends_at_the_deadline(void **state)
{
	_cleanup_close_ int dev_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	static const struct blockdev dev = {.kname = "none", .disk = "none", .devnum = 1};
	struct probe_result result;

	(void)state;
	assert_int_equal(probe_wait(dev_fd, &dev, 0, &result), 0);
	assert_int_equal(result.outcome, PROBE_TIMEOUT);
	assert_int_equal(probe_wait(dev_fd, &dev, 10000, &result), 0);
	assert_int_equal(result.outcome, PROBE_ERROR);
	assert_true(result.err < 0);
}

static void must_not_run(const struct probe_result *result, void *data)
{
	fail();
}

static void quit(void *data)
{
	loop_quit(data, 0);
}

static void can_be_cancelled(void **state)
{
	_cleanup_close_ int dev_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	static const struct blockdev dev = {.kname = "none", .disk = "none", .devnum = 1};
	struct loop_timer *timer;
	struct probe *probe;
	struct loop *loop;

	(void)state;
	assert_int_equal(loop_new(&loop), 0);
	assert_int_equal(probe_start(loop, dev_fd, &dev, 1000, must_not_run, NULL, &probe), 0);
	assert_int_equal(loop_timer_add(loop, 100, quit, loop, &timer), 0);
	assert_null(probe_cancel(probe));
	assert_null(probe_cancel(NULL));
	assert_int_equal(loop_run(loop), 0);
	loop_timer_remove(timer);
	loop_free(loop);
}

/* Tries in vain, and the time from the first to the last. */
static unsigned tried(enum probe_outcome outcome, int err, uint64_t *ret_ms)
{
	const struct probe_result result = {.outcome = outcome, .err = err};
	unsigned tries = 0;
	uint64_t ms;

	for (*ret_ms = 0; (ms = probe_retry_ms(&result, tries)) > 0 && tries < 100; tries++)
		*ret_ms += ms;
	assert_int_equal(tries > 0, probe_in_vain(&result));
	return tries;
}

/* A daemon that went on for ever would never be idle. */
static void tries_again_and_ends(void **state)
{
	static const int shortages[] = {-EMFILE, -ENFILE, -ENOMEM, -EAGAIN};
	uint64_t ms;

	(void)state;
	assert_int_equal(tried(PROBE_ERROR, -EIO, &ms), 6);
	assert_in_range(ms, 30000, 35000);
	for (size_t i = 0; i < ARRAY_SIZE(shortages); i++) {
		const struct probe_result result = {.outcome = PROBE_ERROR, .err = shortages[i]};

		assert_int_equal(tried(PROBE_ERROR, shortages[i], &ms), 6);
		assert_true(probe_failed_here(&result));
	}
	assert_false(
		probe_failed_here(&(struct probe_result){.outcome = PROBE_ERROR, .err = -EIO}));
	assert_false(probe_failed_here(&(struct probe_result){.outcome = PROBE_TIMEOUT}));
	assert_int_equal(tried(PROBE_TIMEOUT, 0, &ms), 2);
	assert_int_equal(tried(PROBE_ERROR, -EACCES, &ms), 0);
	assert_int_equal(tried(PROBE_FOUND, 0, &ms), 0);
	assert_int_equal(tried(PROBE_NOTHING, 0, &ms), 0);
	assert_int_equal(tried(PROBE_CRASHED, 0, &ms), 0);
}

#define IMAGE_TEST(f) cmocka_unit_test_setup_teardown(f, image_setup, image_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IMAGE_TEST(finds_ext4),
		IMAGE_TEST(finds_ext2_without_journal),
		IMAGE_TEST(finds_xfs),
		IMAGE_TEST(finds_btrfs),
		IMAGE_TEST(finds_fat),
		IMAGE_TEST(finds_exfat),
		IMAGE_TEST(bounds_space_that_is_not_told),
		IMAGE_TEST(reads_the_space_of_hfsplus),
		IMAGE_TEST(finds_what_is_no_filesystem),
		IMAGE_TEST(finds_nothing),
		IMAGE_TEST(finds_contradiction),
		IMAGE_TEST(finds_zfs_members),
		IMAGE_TEST(finds_zfs_behind_another_filesystem),
		IMAGE_TEST(tells_the_partition_type),
		IMAGE_TEST(survives_damage),
		IMAGE_TEST(probes_a_device_in_a_child),
		cmocka_unit_test(ends_at_the_deadline),
		cmocka_unit_test(can_be_cancelled),
		cmocka_unit_test(tries_again_and_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
