/* Each case enters the sandbox in a child and tells by its end what happened there. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/sandbox.h"

static int run_in(enum sandbox_profile profile, int (*fn)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0) {
		bool filtered = false;

		if (sandbox_enter(profile, &filtered) < 0)
			_exit(100);
		_exit(filtered ? fn() : 77);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	return status;
}

static void assert_exit(int status, int code)
{
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), code);
}

static int open_file(void)
{
	return open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int read_memory(void)
{
	struct stat st;
	char *p = malloc(4000000);

	if (!p || fstat(0, &st) < 0)
		return 1;
	memset(p, 1, 4000000);
	free(p);
	return 0;
}

static int make_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

static int exec_program(void)
{
	char *const argv[] = {(char *)"true", NULL};

	execv("/bin/true", argv);
	return errno;
}

static void *thread_body(void *data)
{
	return unshare(CLONE_FS) < 0 ? NULL : data;
}

static int make_thread(void)
{
	pthread_t thread;
	void *answer = NULL;
	int x = 0;

	if (pthread_create(&thread, NULL, thread_body, &x) != 0)
		return 1;
	return pthread_join(thread, &answer) != 0 || answer != &x;
}

static int make_namespace(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? errno : 0;
}

static int open_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) < 0 ? errno : 0;
}

static int has_capability(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long caps = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "CapPrm: %llx", &caps) == 1 && caps & 1ull << 12 /* NET_ADMIN */)
			return 1;
	return f && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2;
}

static int change_mode(void)
{
	/* fchmodat2, newer than some libraries: on a bad fd, if the kernel has it */
	long r = syscall(452, -1, "x", 0600, 0);

	return r < 0 && (errno == EBADF || errno == ENOSYS) ? 0 : errno;
}

static int raise_abort(void)
{
	(void)raise(SIGUSR1);
	return 0;
}

static void probe_reads_but_opens_nothing(void **state)
{
	(void)state;
	assert_exit(run_in(SANDBOX_PROBE, read_memory), 0);
	if (SANDBOX_SANITIZED)
		return;
	assert_exit(run_in(SANDBOX_PROBE, open_file), EACCES);
	assert_exit(run_in(SANDBOX_PROBE, open_socket), EACCES);
}

static void probe_is_killed(void **state)
{
	(void)state;
	int status = run_in(SANDBOX_PROBE, exec_program);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
	status = run_in(SANDBOX_PROBE, make_namespace);
	assert_true(WIFSIGNALED(status));
}

static void server_serves(void **state)
{
	(void)state;
	assert_exit(run_in(SANDBOX_SERVER, read_memory), 0);
	assert_exit(run_in(SANDBOX_SERVER, open_file), 0);
	assert_exit(run_in(SANDBOX_SERVER, make_thread), 0);
	assert_exit(run_in(SANDBOX_SERVER, has_capability), 0);
	assert_exit(run_in(SANDBOX_SERVER, change_mode), 0);
}

static void server_is_refused(void **state)
{
	(void)state;
	assert_exit(run_in(SANDBOX_SERVER, exec_program), EPERM);
	assert_exit(run_in(SANDBOX_SERVER, make_namespace), EPERM);
	assert_exit(run_in(SANDBOX_SERVER, open_socket), EPERM);
	if (!SANDBOX_SANITIZED)
		assert_exit(run_in(SANDBOX_SERVER, make_process), EPERM);
}

static void signals_to_itself_arrive(void **state)
{
	(void)state;
	int status = run_in(SANDBOX_SERVER, raise_abort);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGUSR1);
	status = run_in(SANDBOX_PROBE, raise_abort);
	assert_true(WIFSIGNALED(status));
	if (!SANDBOX_SANITIZED) /* it can signal nobody at all, and ends all the same */
		assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void keeper_of_fds_opens_nothing(void **state)
{
	(void)state;
	int status = run_in(SANDBOX_FDSTORE, open_file);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* From here on the probe's filter is the prepared one. */
static void filter_is_prepared(void **state)
{
	(void)state;
	assert_int_equal(sandbox_prepare(SANDBOX_PROBE), 0);
	assert_int_equal(sandbox_prepare(SANDBOX_PROBE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(probe_reads_but_opens_nothing),
		cmocka_unit_test(probe_is_killed),
		cmocka_unit_test(server_serves),
		cmocka_unit_test(server_is_refused),
		cmocka_unit_test(signals_to_itself_arrive),
		cmocka_unit_test(keeper_of_fds_opens_nothing),
		cmocka_unit_test(filter_is_prepared),
		cmocka_unit_test(probe_reads_but_opens_nothing),
		cmocka_unit_test(probe_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
