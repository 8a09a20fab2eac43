/* Each case enters the sandbox in a child and tells by its end what happened there. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "base/packet.h"
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

/* It would make calls that the filter does not see. */
static int make_ring(void)
{
	return syscall(425 /* io_uring_setup */, 1, NULL) < 0 ? errno : 0;
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
	assert_exit(run_in(SANDBOX_SERVER, make_ring), EPERM);
	if (!SANDBOX_SANITIZED)
		assert_exit(run_in(SANDBOX_SERVER, make_process), EPERM);
}

static int mount_nothing(void)
{
	return mount("none", "/", "tmpfs", MS_RDONLY, "fd=7") < 0 ? errno : 0;
}

/* The listener is sent through the socket. Returns what mount(2) says. */
static int mount_and_be_told(int sock)
{
	int listener = -EBADF;
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return 100;
	r = sandbox_filter_mounting(&listener);
	if (r == -ENOSYS)
		return 77;
	if (r < 0 || packet_send(sock, "", 1, listener) < 0)
		return 101;
	close_fd(listener);
	close_fd(sock);
	return mount_nothing();
}

/* Answers one call; fails with err if that is not 0. */
static void answer_mount(int sock, int err)
{
	struct seccomp_notif_resp *reply = NULL;
	struct seccomp_notif *call = NULL;
	int listener = -EBADF;
	char byte;

	if (packet_receive(sock, &byte, 1, &listener) < 0)
		return; /* no seccomp here: the child tells */
	assert_int_equal(seccomp_notify_alloc(&call, &reply), 0);
	assert_int_equal(seccomp_notify_receive(listener, call), 0);
	assert_int_equal(call->data.nr, SCMP_SYS(mount));
	assert_int_equal(call->data.args[3], MS_RDONLY);
	reply->id = call->id;
	reply->error = -err;
	assert_int_equal(seccomp_notify_respond(listener, reply), 0);
	seccomp_notify_free(call, reply);
	close_fd(listener);
}

static void mount_is_told(void **state)
{
	static const int answers[] = {0, EPERM};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		int status = 0;
		int pair[2];
		pid_t pid;

		assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			close_fd(pair[0]);
			_exit(mount_and_be_told(pair[1]));
		}
		close_fd(pair[1]);
		answer_mount(pair[0], answers[i]);
		close_fd(pair[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip();
		assert_exit(status, answers[i]);
	}
}

static void other_drivers_mount_nothing(void **state)
{
	(void)state;
	assert_exit(run_in(SANDBOX_DRIVER, mount_nothing), EPERM);
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
		cmocka_unit_test(mount_is_told),
		cmocka_unit_test(other_drivers_mount_nothing),
		cmocka_unit_test(signals_to_itself_arrive),
		cmocka_unit_test(keeper_of_fds_opens_nothing),
		cmocka_unit_test(filter_is_prepared),
		cmocka_unit_test(probe_reads_but_opens_nothing),
		cmocka_unit_test(probe_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
