/* Drives whose medium can be exchanged, on a made-up sysfs. */
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "device/drive.h"

#define INTERVAL "events_poll_msecs"
#define SCSI	 "class/scsi_device/6:0:0:1/device"

struct tree {
	char path[64];
	int fd;
};

/* As the kernel while it refuses what is written to an attribute. */
static bool refusing;

ssize_t write(int fd, const void *data, size_t size)
{
	if (!refusing)
		return syscall(SYS_write, fd, data, size);
	errno = EINVAL;
	return -1;
}

static void put(const struct tree *t, const char *name, const char *text)
{
	int fd = openat(t->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	(void)close(fd);
}

/* The file keeps what a shorter write leaves of it, as an attribute does not. */
static void assert_starts(const struct tree *t, const char *name, const char *text)
{
	char found[32] = "";
	int fd = openat(t->fd, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, found, sizeof(found) - 1) >= 0);
	(void)close(fd);
	found[strlen(text)] = '\0';
	assert_string_equal(found, text);
}

static int setup(void **state)
{
	struct tree *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	(void)STR_COPY(t->path, "/tmp/hotplugfs-drive-XXXXXX");
	assert_non_null(mkdtemp(t->path));
	t->fd = open(t->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(t->fd >= 0);
	assert_int_equal(mkdirat(t->fd, "class", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "class/scsi_device", 0700), 0);
	assert_int_equal(mkdirat(t->fd, "class/scsi_device/6:0:0:1", 0700), 0);
	assert_int_equal(mkdirat(t->fd, SCSI, 0700), 0);
	*state = t;
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct tree *t = *state;

	(void)close(t->fd);
	(void)nftw(t->path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(t);
	return 0;
}

static void is_asked_only_if_nobody_decided(void **state)
{
	struct tree *t = *state;

	put(t, INTERVAL, "-1\n");
	assert_int_equal(drive_ask(t->path), 0);
	assert_starts(t, INTERVAL, "200");
	put(t, INTERVAL, "0\n");
	assert_int_equal(drive_ask(t->path), 0);
	assert_starts(t, INTERVAL, "0\n");
	put(t, INTERVAL, "2000\n");
	assert_int_equal(drive_ask(t->path), 0);
	assert_starts(t, INTERVAL, "2000\n");
}

static void is_left_as_it_was(void **state)
{
	struct tree *t = *state;

	put(t, INTERVAL, "200\n");
	assert_int_equal(drive_ask_no_more(t->path), 0);
	assert_starts(t, INTERVAL, "-1");
	put(t, INTERVAL, "2000\n");
	assert_int_equal(drive_ask_no_more(t->path), 0);
	assert_starts(t, INTERVAL, "2000\n");
}

static void is_cut_off_by_its_address(void **state)
{
	struct tree *t = *state;

	put(t, SCSI "/state", "running\n");
	assert_int_equal(drive_cut_off(t->fd, "6:0:0:1"), 0);
	assert_starts(t, SCSI "/state", "offline\n");
}

static void may_be_on_its_way_out(void **state)
{
	struct tree *t = *state;
	static const struct {
		const char *state;
		int result;
	} cases[] = {{"cancel\n", -ENODEV},
		     {"deleted\n", -ENODEV},
		     {"running\n", -EINVAL},
		     {"", -EINVAL}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put(t, SCSI "/state", cases[i].state);
		refusing = true;
		assert_int_equal(drive_cut_off(t->fd, "6:0:0:1"), cases[i].result);
		refusing = false;
	}
}

static void may_be_gone(void **state)
{
	struct tree *t = *state;

	assert_int_equal(drive_ask(t->path), -ENOENT);
	assert_int_equal(drive_look("/dev/no-such-drive"), -ENOENT);
	assert_int_equal(drive_cut_off(t->fd, "7:0:0:0"), -ENOENT);
	assert_int_equal(drive_renew("7:0:0"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_asked_only_if_nobody_decided, setup, teardown),
		cmocka_unit_test_setup_teardown(is_left_as_it_was, setup, teardown),
		cmocka_unit_test_setup_teardown(is_cut_off_by_its_address, setup, teardown),
		cmocka_unit_test_setup_teardown(may_be_on_its_way_out, setup, teardown),
		cmocka_unit_test_setup_teardown(may_be_gone, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
