/* The cache of directory descriptors. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "fs/dirs.h"

/* Media are only compared here. */
static struct medium *const medium_a = (struct medium *)0x10;
static struct medium *const medium_b = (struct medium *)0x20;

static int setup(void **state)
{
	struct dirs *dirs = malloc(sizeof(*dirs));

	assert_non_null(dirs);
	assert_int_equal(dirs_init(dirs), 0);
	*state = dirs;
	return 0;
}

static int teardown(void **state)
{
	dirs_done(*state);
	free(*state);
	return 0;
}

static int dir_open(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static struct dir *add(struct dirs *dirs, struct medium *medium, uint64_t nodeid)
{
	int fd = dir_open();
	struct dir *dir = dirs_add(dirs, medium, nodeid, fd);

	assert_non_null(dir);
	assert_int_equal(dir->fd, fd);
	return dir;
}

static bool has(struct dirs *dirs, uint64_t nodeid)
{
	struct dir *dir = dirs_find(dirs, nodeid);

	if (dir)
		dirs_put(dirs, dir);
	return dir;
}

static void what_was_added_is_found(void **state)
{
	struct dirs *dirs = *state;
	struct dir *dir;
	struct dir *again;

	assert_null(dirs_find(dirs, 5));
	assert_null(dirs_find(dirs, 0)); /* not one of the empty places */
	dir = add(dirs, medium_a, 5);
	again = dirs_find(dirs, 5);
	assert_ptr_equal(dir, again);
	assert_null(dirs_find(dirs, 6));
	dirs_put(dirs, dir);
	dirs_put(dirs, again);
	assert_true(has(dirs, 5));
	assert_true(is_open(dir->fd));
}

static void the_longest_unused_goes_first(void **state)
{
	struct dirs *dirs = *state;
	struct dir *first = add(dirs, medium_a, 1);
	int fd = first->fd;

	dirs_put(dirs, first);
	for (uint64_t i = 2; i <= DIRS_CACHED; i++)
		dirs_put(dirs, add(dirs, medium_a, i));
	assert_true(has(dirs, 1)); /* the last used of all now */
	dirs_put(dirs, add(dirs, medium_a, 100));
	assert_true(has(dirs, 1));
	assert_true(is_open(fd));
	assert_false(has(dirs, 2));
	assert_true(has(dirs, 3));
}

static void what_is_used_stays(void **state)
{
	struct dirs *dirs = *state;
	struct dir *used[DIRS_CACHED];
	struct dir *more;
	int fd;

	for (uint64_t i = 0; i < DIRS_CACHED; i++)
		used[i] = add(dirs, medium_a, i + 1);
	more = add(dirs, medium_a, 1000); /* no place: only for its user */
	fd = more->fd;
	assert_false(has(dirs, 1000));
	dirs_drop_medium(dirs, medium_a);
	assert_true(is_open(fd));
	dirs_put(dirs, more);
	assert_false(is_open(fd));
	for (uint64_t i = 0; i < DIRS_CACHED; i++) {
		assert_true(is_open(used[i]->fd));
		dirs_put(dirs, used[i]);
	}
}

static void dropped_ones_are_closed(void **state)
{
	struct dirs *dirs = *state;
	struct dir *dir = add(dirs, medium_a, 5);
	int fd = dir->fd;

	dirs_put(dirs, add(dirs, medium_a, 6));
	dirs_put(dirs, dir);
	dirs_drop(dirs, 5);
	assert_false(is_open(fd));
	assert_false(has(dirs, 5));
	assert_true(has(dirs, 6));
	dirs_drop(dirs, 5);
	dirs_drop(dirs, 0);
	assert_true(has(dirs, 6));
}

/* In use it is closed by its last user, and nobody new gets it. */
static void dropped_in_use(void **state)
{
	struct dirs *dirs = *state;
	struct dir *dir = add(dirs, medium_a, 5);
	struct dir *again = dirs_find(dirs, 5);
	struct dir *other;
	int fd = dir->fd;

	dirs_drop(dirs, 5);
	assert_true(is_open(fd));
	assert_null(dirs_find(dirs, 5));
	other = add(dirs, medium_a, 5); /* a new directory with the id: another place */
	assert_ptr_not_equal(other, dir);
	dirs_put(dirs, dir);
	assert_true(is_open(fd));
	dirs_put(dirs, again);
	assert_false(is_open(fd));
	dirs_put(dirs, other);
	assert_true(has(dirs, 5));
}

static void a_medium_goes_whole(void **state)
{
	struct dirs *dirs = *state;
	int fds[10];
	struct dir *used;

	for (uint64_t i = 0; i < 10; i++) {
		struct dir *dir = add(dirs, i % 2 ? medium_a : medium_b, i + 1);

		fds[i] = dir->fd;
		dirs_put(dirs, dir);
	}
	used = dirs_find(dirs, 2);
	dirs_drop_medium(dirs, medium_a);
	for (uint64_t i = 0; i < 10; i++) {
		assert_int_equal(has(dirs, i + 1), i % 2 == 0);
		assert_int_equal(is_open(fds[i]), i % 2 == 0 || i == 1);
	}
	dirs_put(dirs, used);
	assert_false(is_open(fds[1]));
}

static void everything_is_closed_at_the_end(void **state)
{
	struct dirs dirs;
	int fds[5];

	assert_int_equal(dirs_init(&dirs), 0);
	for (uint64_t i = 0; i < 5; i++) {
		struct dir *dir = add(&dirs, medium_a, i + 1);

		fds[i] = dir->fd;
		dirs_put(&dirs, dir);
	}
	dirs_done(&dirs);
	for (unsigned i = 0; i < 5; i++)
		assert_false(is_open(fds[i]));
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS	4000

struct worker {
	struct dirs *dirs;
	unsigned long random;
	unsigned failures;
	pthread_t thread;
};

static void use_one(struct worker *self, uint64_t nodeid)
{
	struct medium *medium = nodeid % 2 ? medium_a : medium_b;
	struct dir *dir = dirs_find(self->dirs, nodeid);

	if (!dir)
		dir = dirs_add(self->dirs, medium, nodeid,
			       open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (!dir || dir->nodeid != nodeid || !is_open(dir->fd))
		self->failures++;
	if (dir)
		dirs_put(self->dirs, dir);
}

static void *worker_run(void *data)
{
	struct worker *self = data;

	for (unsigned i = 0; i < ROUNDS; i++) {
		self->random = self->random * 6364136223846793005UL + 1442695040888963407UL;
		switch (self->random >> 59) {
		case 0:
			dirs_drop_medium(self->dirs, medium_a);
			break;
		case 1 ... 3:
			dirs_drop(self->dirs, 1 + (self->random >> 33) % 60);
			break;
		default:
			use_one(self, 1 + (self->random >> 33) % 60);
			break;
		}
	}
	return NULL;
}

/* With 60 directories for 40 places; what a thread holds is open and the right one. */
static void threads_share_it(void **state)
{
	struct worker workers[THREADS];
	int before = dir_open();
	int after;

	close(before);
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.dirs = *state, .random = i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]),
				 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].failures, 0);
	}
	dirs_drop_medium(*state, medium_a);
	dirs_drop_medium(*state, medium_b);
	after = dir_open();
	close(after);
	assert_int_equal(after, before); /* no descriptor is left over */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_added_is_found, setup, teardown),
		cmocka_unit_test_setup_teardown(the_longest_unused_goes_first, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_used_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_ones_are_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(dropped_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(a_medium_goes_whole, setup, teardown),
		cmocka_unit_test(everything_is_closed_at_the_end),
		cmocka_unit_test_setup_teardown(threads_share_it, setup, teardown),
	};

	return cmocka_run_group_tests_name("dirs", tests, NULL, NULL);
}
