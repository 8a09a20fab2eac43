#include "process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int compare_fds(const void *a, const void *b)
{
	const int *x = a;
	const int *y = b;

	return (*x > *y) - (*x < *y);
}

void process_keep_fds(int *fds, size_t count)
{
	unsigned next = STDERR_FILENO + 1;

	if (count > 0)
		qsort(fds, count, sizeof(*fds), compare_fds);
	for (size_t i = 0; i < count; i++) {
		unsigned fd = (unsigned)fds[i];

		if (fds[i] < (int)next)
			continue;
		if (fd > next)
			(void)syscall(SYS_close_range, next, fd - 1, 0);
		next = fd + 1;
	}
	(void)syscall(SYS_close_range, next, ~0U, 0);
}

void process_ignore_stop(void)
{
	const int stops[] = {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGRTMIN + 3};

	for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
		(void)signal(stops[i], SIG_IGN);
}

int process_die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

int process_pidfd_open(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec by itself */

	return fd < 0 ? -errno : fd;
}

int process_pidfd_kill(int pidfd, int signo)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}
