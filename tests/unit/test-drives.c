/* Drives that go and come, also while no process can be started: fork() is the one of this test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/context.h"

static unsigned forks;
static bool can_fork;

/* Instead of the C library's. */
pid_t fork(void)
{
	forks++;
	if (can_fork)
		return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	errno = EAGAIN;
	return -1;
}

struct tree {
	char path[64];
	int fd;
};

static const char *const directories[] = {
	"class",
	"class/block",
	"class/scsi_device",
	"class/scsi_device/99:0:0:0",
	"class/scsi_device/99:0:0:0/device",
	"devices",
	"devices/sdz",
};

static const char *const files[][2] = {
	{"class/scsi_device/99:0:0:0/device/state", "running\n"},
	{"devices/sdz/dev", "8:400\n"},
	{"devices/sdz/diskseq", "2\n"},
};

static int setup(void **state)
{
	static struct tree tree;

	tree = (struct tree){.path = "/tmp/test-drives-XXXXXX"};
	if (!mkdtemp(tree.path))
		return -1;
	tree.fd = open(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
		assert_int_equal(mkdirat(tree.fd, directories[i], 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_close_ int fd = openat(tree.fd, files[i][0],
						O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		assert_true(write(fd, files[i][1], strlen(files[i][1])) > 0);
	}
	assert_int_equal(symlinkat("../../devices/sdz", tree.fd, "class/block/sdz"), 0);
	*state = &tree;
	return 0;
}

static int teardown(void **state)
{
	struct tree *tree = *state;

	(void)unlinkat(tree->fd, "class/block/sdz", 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlinkat(tree->fd, files[i][0], 0);
	for (size_t i = ARRAY_SIZE(directories); i > 0; i--)
		(void)unlinkat(tree->fd, directories[i - 1], AT_REMOVEDIR);
	close_fd(tree->fd);
	return rmdir(tree->path);
}

static void quit(void *data)
{
	loop_quit(data, 0);
}

/* Its medium is another one already, and is in use: looked at within this it was cut off again. */
static void is_found_again_later(void **state)
{
	static struct broker b;
	struct blockdev dev = {.kname = "sdz", .disk = "sdz", .drive = "99:0:0:0", .diskseq = 1};
	struct loop_timer *timer;
	struct medium *m;
	const struct tree *tree = *state;

	b = (struct broker){.sysfs_fd = tree->fd, .phase = BROKER_SERVING};
	assert_int_equal(config_new(&b.config), 0);
	list_init(&b.drives);
	assert_int_equal(loop_new(&b.loop), 0);
	assert_int_equal(registry_add(&b.registry, &dev, &m), 0);
	m->broker = &b;
	m->state = MEDIUM_BUSY;
	forks = 0;
	drives_cut_off(&b, &dev);
	assert_int_equal(forks, 1);
	assert_true(drives_busy(&b));
	drives_cut_off(&b, &dev); /* a partition's turn */
	assert_int_equal(forks, 1);
	assert_int_equal(loop_timer_add(b.loop, 1500, quit, b.loop, &timer), 0);
	assert_int_equal(loop_run(b.loop), 0);
	assert_int_equal(forks, 2);
	assert_true(drives_busy(&b));
	loop_timer_remove(timer);
	drives_free(&b);
	registry_drop(&b.registry, m);
	loop_free(b.loop);
	config_free(b.config);
}

static void look_at_list(void *data)
{
	struct broker *b = data;

	b->ready_timer = loop_timer_remove(b->ready_timer);
	if (list_empty(&b->drives))
		loop_quit(b->loop, 0);
	else
		(void)loop_timer_add(b->loop, 10, look_at_list, b, &b->ready_timer);
}

/*
 * After a drive was cut off another device has its name and address, which may not be complete when
 * the first child asks it, and of which no event says that it is another one.
 */
static void another_of_the_same_name_is_asked(void **state)
{
	static struct broker b;
	struct blockdev dev = {.disk = "sdz", .drive = "99:0:0:0", .inode = 1};

	(void)state;
	b = (struct broker){.phase = BROKER_SERVING};
	assert_int_equal(config_new(&b.config), 0);
	list_init(&b.drives);
	assert_int_equal(loop_new(&b.loop), 0);
	forks = 0;
	can_fork = true;
	drives_watch(&b, &dev);
	drives_watch(&b, &dev);
	assert_int_equal(forks, 1);
	dev.inode = 2;
	drives_watch(&b, &dev);
	assert_int_equal(forks, 2);
	assert_int_equal(loop_timer_add(b.loop, 10, look_at_list, &b, &b.ready_timer), 0);
	assert_int_equal(loop_run(b.loop), 0); /* there is none in /sys: it is not waited for */
	drives_watch(&b, &dev);
	assert_int_equal(forks, 3);
	can_fork = false;
	drives_free(&b);
	loop_timer_remove(b.ready_timer);
	loop_free(b.loop);
	config_free(b.config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_found_again_later, setup, teardown),
		cmocka_unit_test(another_of_the_same_name_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
