/* Open files of a process that is killed, in the hands of another one. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/fdstore.h"

#define FILES 100

struct scene {
	int keep;	    /* our end of the pair */
	int alive;	    /* end of file once nobody has the other end */
	int numbers[FILES]; /* what the dead process had open */
};

/* In the child: opens files whose content is their number, tells which, and waits. */
static _Noreturn void keeper_of_files(int sock, int alive, int tell)
{
	(void)alive; /* stays open as long as this table is in use */
	if (fdstore_start(sock) < 0)
		_exit(1);
	for (int i = 0; i < FILES; i++) {
		int fd = memfd_create("kept", 0);

		if (fd < 0 || write(fd, &i, sizeof(i)) != sizeof(i) ||
		    write(tell, &fd, sizeof(fd)) != sizeof(fd))
			_exit(1);
	}
	for (;;)
		(void)pause();
}

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));
	int pair[2], alive[2], tell[2];
	pid_t pid;

	assert_non_null(s);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(alive), 0);
	assert_int_equal(pipe(tell), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(pair[0]);
		keeper_of_files(pair[1], alive[1], tell[1]);
	}
	(void)close(pair[1]);
	(void)close(alive[1]);
	(void)close(tell[1]);
	for (int i = 0; i < FILES; i++)
		assert_int_equal(read(tell[0], &s->numbers[i], sizeof(int)), sizeof(int));
	(void)close(tell[0]);
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	s->keep = pair[0];
	s->alive = alive[0];
	*state = s;
	return 0;
}

/* Closing our end lets go of all: nobody has the pipe any more. */
static int teardown(void **state)
{
	struct scene *s = *state;
	char byte;

	close_fd(s->keep);
	assert_int_equal(read(s->alive, &byte, 1), 0);
	close_fd(s->alive);
	free(s);
	return 0;
}

static void all_of_them(void **state)
{
	struct scene *s = *state;
	int fds[FILES];

	assert_int_equal(fdstore_fetch(s->keep, s->numbers, FILES, fds), 0);
	for (int i = 0; i < FILES; i++) {
		int content;

		assert_int_equal(pread(fds[i], &content, sizeof(content), 0), sizeof(content));
		assert_int_equal(content, i);
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
		close_fd(fds[i]);
	}
}

static void numbers_that_were_not_open(void **state)
{
	struct scene *s = *state;
	const int numbers[] = {1000, s->numbers[7], -EBADF, INT32_MAX};
	int fds[ARRAY_SIZE(numbers)];

	assert_int_equal(fdstore_fetch(s->keep, numbers, ARRAY_SIZE(numbers), fds), 0);
	assert_int_equal(fds[0], -EBADF);
	assert_true(fds[1] >= 0);
	assert_int_equal(fds[2], -EBADF);
	assert_int_equal(fds[3], -EBADF);
	close_fd(fds[1]);
	assert_int_equal(fdstore_fetch(s->keep, numbers, 0, fds), 0);
}

static void nobody_there(void **state)
{
	const int number = 1;
	int pair[2];
	int fd = 5;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	(void)close(pair[1]);
	assert_int_equal(fdstore_fetch(pair[0], &number, 1, &fd), -EPIPE);
	assert_int_equal(fd, -EBADF);
	(void)close(pair[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(all_of_them, setup, teardown),
		cmocka_unit_test_setup_teardown(numbers_that_were_not_open, setup, teardown),
		cmocka_unit_test(nobody_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
