#include "guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/process.h"
#include "daemon/mountpoint.h"

struct guard {
	pid_t pid; /* 0: there is no process */
	struct loop_child *child;
};

/*
 * Whether the mount namespace is one that goes with us: /proc is of the pid namespace in which we
 * are process 1, so it has been mounted for it.
 */
static bool owns_namespace(void)
{
	char self[16];

	return getpid() == 1 && readlink("/proc/self", self, sizeof(self)) == 1 && self[0] == '1';
}

/* Mounts of outside still come in. */
static void keep_inside(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		log_debug("cannot keep mounts inside: %s, ignoring", strerror(errno));
}

static void guard_main(const char *mountpoint, int parent)
{
	struct pollfd ended = {.fd = parent, .events = POLLIN};

	loop_signals_reset();
	process_ignore_stop();
	process_keep_fds(&parent, 1);
	while (poll(&ended, 1, -1) < 0)
		if (errno != EINTR)
			_exit(1);
	_exit(mountpoint_unmount(mountpoint) < 0);
}

static void process_ended(pid_t pid, int status, void *data)
{
	struct guard *guard = data;

	(void)status;
	log_warning("the guard of the mount (pid %d) was killed, ignoring", (int)pid);
	guard->pid = 0;
	guard->child = NULL;
}

static int guard_start(struct guard *guard, struct loop *loop, const char *mountpoint)
{
	_cleanup_close_ int self = process_pidfd_open(getpid());

	if (self < 0)
		return self;
	guard->pid = fork();
	if (guard->pid < 0)
		return -errno;
	if (guard->pid == 0)
		guard_main(mountpoint, self);
	return loop_child_add(loop, guard->pid, process_ended, guard, &guard->child);
}

int guard_new(struct loop *loop, const char *mountpoint, struct guard **ret_guard)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	int r = 0;

	if (!guard)
		return -ENOMEM;
	if (owns_namespace())
		keep_inside();
	else
		r = guard_start(guard, loop, mountpoint);
	if (r < 0)
		guard_free(guard);
	else
		*ret_guard = guard;
	return r;
}

pid_t guard_pid(const struct guard *guard)
{
	return guard->pid;
}

int guard_take(struct loop *loop, pid_t pid, struct guard **ret_guard)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	int r = 0;

	if (!guard)
		return -ENOMEM;
	if (pid > 0)
		r = loop_child_add(loop, pid, process_ended, guard, &guard->child);
	if (r < 0) {
		free(guard);
		return r;
	}
	guard->pid = pid;
	*ret_guard = guard;
	return 0;
}

struct guard *guard_free(struct guard *guard)
{
	if (!guard)
		return NULL;
	loop_child_forget(guard->child);
	if (guard->pid > 0) {
		(void)kill(guard->pid, SIGKILL);
		(void)waitpid(guard->pid, NULL, 0);
	}
	free(guard);
	return NULL;
}
