#include "program_start.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/loop.h"
#include "base/packet.h"
#include "base/privileges.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "staging/program_helper.h"
#include "staging/program_root.h"
#include "staging/programs.h"

/* In the child: the words are a reason for people, like those of the program itself. */
static _Noreturn void give_up(const struct program_order *order, const char *what, int err)
{
	(void)fprintf(stderr, "cannot start %s: %s: %s\n", order->driver->program, what,
		      strerror(-err));
	_exit(126);
}

static void standard_files(int words)
{
	int null = open("/dev/null", O_RDWR | O_NOCTTY);

	(void)dup2(null, STDIN_FILENO);
	(void)dup2(words, STDOUT_FILENO);
	(void)dup2(words, STDERR_FILENO);
	close_fd(null > STDERR_FILENO ? null : -EBADF);
}

static void become(const struct program_order *order, const char *path)
{
	char options[LIMIT_OPTIONS + 8];
	char number[sizeof(PROGRAM_HELPER_VARIABLE) + 16];
	char name[PROGRAM_PATH_SIZE];
	char disk[] = PROGRAM_ROOT_DISK;
	char mountpoint[] = PROGRAM_ROOT_MOUNT;
	char foreground[8];
	char with[] = "-o";
	char search[] = "PATH=" PROGRAM_ROOT_PATH;
	char locale[] = "LC_ALL=C.UTF-8";
	char *argv[] = {name, disk, mountpoint, with, options, NULL, NULL};
	char *const envp[] = {number, search, locale, NULL};

	(void)STR_COPY(name, order->driver->program);
	if (order->driver->foreground) {
		(void)STR_COPY(foreground, order->driver->foreground);
		argv[ARRAY_SIZE(argv) - 2] = foreground;
	}
	(void)snprintf(options, sizeof(options), "%s%s%s", order->read_only ? "ro" : "rw",
		       *order->options ? "," : "", order->options);
	(void)snprintf(number, sizeof(number), PROGRAM_HELPER_VARIABLE "=%d", order->fuse_fd);
	(void)execve(path, argv, envp);
}

/* The filter of a driver that mounts, and the parent's part of it. */
static int filter_and_tell(int listener_to)
{
	_cleanup_close_ int listener = -EBADF;
	int r = sandbox_filter_mounting(&listener);

	return r == 0 ? packet_send(listener_to, "", 1, listener) : r;
}

/* In this order: what changes the credentials takes the signal back. */
static int lock_up(const struct program_order *order, pid_t parent)
{
	const struct identity same = {.change = false};
	bool filtered;
	int r = privileges_drop(&same);

	if (r < 0)
		return r;
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		return -errno;
	if (getppid() != parent)
		return -ESRCH;
	return order->driver->mounts ? filter_and_tell(order->listener_to)
				     : sandbox_filter(SANDBOX_DRIVER, &filtered);
}

/* What it needs to get its connection; that of a driver which mounts comes later. */
static int prepare_connection(const struct program_order *order)
{
	int hold;

	if (!order->driver->mounts)
		return fcntl(order->fuse_fd, F_SETFD, 0) < 0 ? -errno : 0;
	/* such a one does not keep others from its device: an fd that it inherits does */
	hold = open(PROGRAM_ROOT_DISK, O_RDONLY | O_EXCL); /* NOLINT(android-cloexec-open) */
	return hold < 0 ? -errno : 0;
}

static _Noreturn void child_main(const struct program_order *order, int words, pid_t parent)
{
	static const struct rlimit no_core = {0, 0};
	char path[PROGRAM_PATH_SIZE];
	const char *failed = "";
	int keep[] = {order->driver->mounts ? order->listener_to : order->fuse_fd, words};
	int r;

	loop_signals_reset();
	standard_files(words);
	process_keep_fds(keep, ARRAY_SIZE(keep));
	(void)setrlimit(RLIMIT_CORE, &no_core);
	r = program_locate(order->driver, path);
	if (r < 0)
		give_up(order, "it is not installed", r);
	r = program_root_enter(order->dev_dir, order->kname, order->devnum, &failed);
	if (r < 0)
		give_up(order, failed, r);
	r = prepare_connection(order);
	if (r < 0)
		give_up(order, r == -EBUSY ? "another holds the device" : "the connection", r);
	r = lock_up(order, parent);
	if (r < 0)
		give_up(order, "the sandbox", r);
	become(order, path);
	give_up(order, path, -errno);
}

int program_fork(const struct program_order *order, pid_t *ret_pid, int *ret_words)
{
	_cleanup_close_ int ours = -EBADF;
	_cleanup_close_ int theirs = -EBADF;
	pid_t parent = getpid();
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	ours = fds[0];
	theirs = fds[1];
	if (fcntl(ours, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_main(order, theirs, parent);
	*ret_pid = pid;
	*ret_words = TAKE_FD(ours);
	return 0;
}
