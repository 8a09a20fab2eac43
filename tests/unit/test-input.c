/* Reading to the end: in pieces, up to a limit, and when reading fails. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/input.h"

static void on_signal(int signo)
{
	(void)signo;
}

/* A child that writes a text in two pieces, and interrupts us before the second one. */
static pid_t writer(int fd, const char *first, const char *second)
{
	pid_t pid = fork();

	if (pid == 0) {
		bool ok = write(fd, first, strlen(first)) == (ssize_t)strlen(first);

		(void)usleep(20000);
		ok = ok && kill(getppid(), SIGUSR1) == 0;
		(void)usleep(20000);
		ok = ok && write(fd, second, strlen(second)) == (ssize_t)strlen(second);
		_exit(ok ? 0 : 1);
	}
	assert_true(pid > 0);
	(void)close(fd);
	return pid;
}

static void read_pieces(size_t size, const char *expected)
{
	const struct sigaction action = {.sa_handler = on_signal};
	char data[16] = "";
	int status;
	int fds[2];
	pid_t pid;

	assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
	assert_int_equal(pipe(fds), 0);
	pid = writer(fds[1], "one ", "two");
	assert_int_equal(input_read(fds[0], data, size), strlen(expected));
	assert_string_equal(data, expected);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	(void)close(fds[0]);
}

static void test_to_the_end(void **state)
{
	(void)state;
	read_pieces(15, "one two");
}

static void test_to_the_limit(void **state)
{
	(void)state;
	read_pieces(5, "one t");
}

static void test_nothing(void **state)
{
	char data[4];
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	(void)close(fds[1]);
	errno = EINTR; /* of something else */
	assert_int_equal(input_read(fds[0], data, sizeof(data)), 0);
	(void)close(fds[0]);
}

static void test_fails(void **state)
{
	char data[4];

	(void)state;
	assert_int_equal(input_read(-1, data, sizeof(data)), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_to_the_end),
		cmocka_unit_test(test_to_the_limit),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
