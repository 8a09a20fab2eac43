/* The host's own disks, found in a made-up /proc and /sys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/sysdisk.h"

struct tree {
	char path[64];
	int fd;
};

static void make_directories(const struct tree *tree, const char *path)
{
	char copy[PATH_MAX];

	(void)STR_COPY(copy, path);
	for (char *p = copy; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdirat(tree->fd, copy, 0755);
		*p = '/';
	}
}

static void put(const struct tree *tree, const char *path, const char *text)
{
	_cleanup_close_ int fd = -EBADF;

	make_directories(tree, path);
	fd = openat(tree->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void link_to(const struct tree *tree, const char *target, const char *path)
{
	make_directories(tree, path);
	assert_int_equal(symlinkat(target, tree->fd, path), 0);
}

static int setup(void **state)
{
	static struct tree tree;

	tree = (struct tree){.path = "/tmp/test-sysdisk-XXXXXX"};
	if (!mkdtemp(tree.path))
		return -1;
	tree.fd = open(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	put(&tree, "swaps", "Filename\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	/* disk 8:0 with partitions 8:1 and 8:2, disk 8:16, dm 253:0 on 8:17, loop 7:0 */
	put(&tree, "devices/sda/dev", "8:0\n");
	put(&tree, "devices/sda/sda1/dev", "8:1\n");
	put(&tree, "devices/sda/sda1/partition", "1\n");
	put(&tree, "devices/sda/sda2/dev", "8:2\n");
	put(&tree, "devices/sda/sda2/partition", "2\n");
	put(&tree, "devices/sdb/dev", "8:16\n");
	put(&tree, "devices/sdb/sdb1/dev", "8:17\n");
	put(&tree, "devices/sdb/sdb1/partition", "1\n");
	put(&tree, "devices/dm-0/dev", "253:0\n");
	link_to(&tree, "../../sdb/sdb1", "devices/dm-0/slaves/sdb1");
	put(&tree, "devices/loop0/dev", "7:0\n");
	link_to(&tree, "../../devices/sda", "dev/block/8:0");
	link_to(&tree, "../../devices/sda/sda1", "dev/block/8:1");
	link_to(&tree, "../../devices/sda/sda2", "dev/block/8:2");
	link_to(&tree, "../../devices/sdb", "dev/block/8:16");
	link_to(&tree, "../../devices/sdb/sdb1", "dev/block/8:17");
	link_to(&tree, "../../devices/dm-0", "dev/block/253:0");
	link_to(&tree, "../../devices/loop0", "dev/block/7:0");
	link_to(&tree, "../../devices/sda/sda2", "class/block/sda2");
	link_to(&tree, "../../devices/sdb", "class/block/cciss!c0d0");
	*state = &tree;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	struct tree *tree = *state;

	close_fd(tree->fd);
	return nftw(tree->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void look(const struct tree *tree, const char *mountinfo, struct sysdisk *sysdisk)
{
	put(tree, "self/mountinfo", mountinfo);
	assert_int_equal(sysdisk_read(sysdisk, tree->fd, tree->fd, tree->fd), 0);
}

static void test_partition_means_its_disk(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state,
	     "22 1 0:21 / /proc rw,relatime - proc proc rw\n"
	     "27 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n",
	     &s);
	assert_true(sysdisk_has(&s, makedev(8, 0)));
	assert_false(sysdisk_has(&s, makedev(8, 2)));
	assert_false(sysdisk_has(&s, makedev(8, 16)));
	assert_int_equal(s.count, 1);
	sysdisk_done(&s);
}

static void test_what_a_device_is_built_on(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state, "27 1 253:0 / / rw - xfs /dev/mapper/root rw\n", &s);
	assert_true(sysdisk_has(&s, makedev(253, 0)));
	assert_true(sysdisk_has(&s, makedev(8, 16)));
	assert_false(sysdisk_has(&s, makedev(8, 0)));
	sysdisk_done(&s);
}

/* Where there is no node of that name, or it is mounted alone, as in a container. */
static void test_source_by_name(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state,
	     "27 1 0:40 / /data rw - btrfs /dev/sda2 rw\n"
	     "28 1 0:41 / /more rw - btrfs /dev/cciss/c0d0 rw\n",
	     &s);
	assert_true(sysdisk_has(&s, makedev(8, 0)));
	assert_true(sysdisk_has(&s, makedev(8, 16)));
	assert_int_equal(s.count, 2);
	sysdisk_done(&s);
}

/* Whoever may mount chooses the source. */
static void test_source_leads_elsewhere(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state,
	     "27 1 0:40 / /a rw - fuse /dev/../sda2 rw\n"
	     "28 1 0:41 / /b rw - fuse /dev/./sda2 rw\n"
	     "29 1 0:42 / /c rw - fuse /dev/.. rw\n"
	     "30 1 0:43 / /d rw - fuse /dev//sda2 rw\n"
	     "31 1 0:44 / /e rw - fuse sda2 rw\n"
	     "32 1 0:45 / /f rw - fuse /devices/sda/sda2 rw\n",
	     &s);
	assert_int_equal(s.count, 0);
	sysdisk_done(&s);
}

static void test_looking_again_forgets(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state, "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n28 1 7:0 / /mnt rw - ext4 l rw\n", &s);
	assert_int_equal(s.count, 2);
	look(*state, "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n", &s);
	assert_int_equal(s.count, 1);
	assert_false(sysdisk_has(&s, makedev(7, 0)));
	sysdisk_done(&s);
	assert_false(sysdisk_has(&s, makedev(8, 0)));
}

static void test_damaged_lines(void **state)
{
	struct sysdisk s = SYSDISK_NULL;

	look(*state,
	     "\n"
	     "27 1 8:1 / /\n"
	     "- \n"
	     "x y z - \n"
	     "27 1 0:40 / /data rw - btrfs\n"
	     "27 1 0:40 / /data rw - btrfs /dev/\n"
	     "27 1 9999:1 / /gone rw - ext4 /dev/gone rw\n",
	     &s);
	assert_int_equal(s.count, 0);
	sysdisk_done(&s);
}

static void test_no_proc(void **state)
{
	struct tree *tree = *state;
	struct sysdisk s = SYSDISK_NULL;

	look(tree, "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n", &s);
	assert_int_equal(sysdisk_read(&s, -EBADF, tree->fd, tree->fd), -EBADF);
	assert_true(sysdisk_has(&s, makedev(8, 0))); /* the old knowledge stays */
	sysdisk_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_partition_means_its_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_a_device_is_built_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_by_name, setup, teardown),
		cmocka_unit_test_setup_teardown(test_source_leads_elsewhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_looking_again_forgets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_proc, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
