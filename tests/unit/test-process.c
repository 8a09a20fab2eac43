/* What the states of a process's threads tell of it. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/process.h"
#include "base/util.h"

static void run(void)
{
	for (;;)
		;
}

static void sleeps(void)
{
	for (;;)
		(void)pause();
}

static void ends(void)
{
}

/* As a thread that waits for a device: vfork(2)'s caller, until its child ends. */
static void waits(void)
{
	pid_t self = getpid();

	if (syscall(SYS_clone, CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, NULL) == 0 &&
	    process_die_with(self) == 0)
		sleeps();
}

static pid_t start(void (*what)(void))
{
	pid_t self = getpid();
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (process_die_with(self) == 0)
			what();
		_exit(0);
	}
	return pid;
}

static void end(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* For a while: a new process goes to sleep only after it has run. */
static void neither_hangs_nor_waits(void (*what)(void))
{
	pid_t pid = start(what);

	for (int i = 0; i < 20; i++) {
		assert_false(process_hangs(pid));
		assert_false(process_waits(pid));
		(void)usleep(1000);
	}
	end(pid);
}

static void test_runs(void **state)
{
	(void)state;
	neither_hangs_nor_waits(run);
}

static void test_sleeps(void **state)
{
	(void)state;
	neither_hangs_nor_waits(sleeps);
}

static void test_stopped(void **state)
{
	pid_t pid = start(sleeps);

	(void)state;
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	assert_false(process_hangs(pid));
	end(pid);
}

static void test_waits(void **state)
{
	pid_t pid = start(waits);

	(void)state;
	for (int i = 0; i < 5000 && !process_waits(pid); i++)
		(void)usleep(1000);
	assert_true(process_waits(pid));
	assert_true(process_hangs(pid));
	end(pid);
}

static void test_ended(void **state)
{
	pid_t pid = start(ends);
	siginfo_t info;

	(void)state;
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_true(process_hangs(pid)); /* a zombie takes nothing any more */
	assert_false(process_waits(pid));
	end(pid);
	assert_true(process_hangs(pid));
	assert_false(process_waits(pid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runs),	cmocka_unit_test(test_sleeps),
		cmocka_unit_test(test_stopped), cmocka_unit_test(test_waits),
		cmocka_unit_test(test_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
