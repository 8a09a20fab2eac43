#include "priority.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

#define NICE_PRECEDENCE (-20)
#define PASSES		4

int priority_take(void)
{
	static const struct sched_param param = {0};
	int policy = sched_getscheduler(0);
	int nice = getpriority(PRIO_PROCESS, 0);

	/* by this program before it executed itself */
	if (policy == (SCHED_OTHER | SCHED_RESET_ON_FORK) && nice == NICE_PRECEDENCE)
		return 0;
	if (policy != SCHED_OTHER || nice != 0)
		return -EALREADY;
	if (setpriority(PRIO_PROCESS, 0, NICE_PRECEDENCE) < 0)
		return -errno;
	return sched_setscheduler(0, SCHED_OTHER | SCHED_RESET_ON_FORK, &param) < 0 ? -errno : 0;
}

/* Returns whether a thread had another nice value, and has this one now. */
static bool set_threads(DIR *tasks, int nice)
{
	const struct dirent *entry;
	bool changed = false;

	while ((entry = readdir(tasks))) {
		id_t tid = (id_t)atoi(entry->d_name);

		if (tid > 0 && getpriority(PRIO_PROCESS, tid) != nice)
			changed |= setpriority(PRIO_PROCESS, tid, nice) == 0;
	}
	return changed;
}

void priority_of_process(pid_t pid, bool precedence)
{
	char path[32];
	DIR *tasks;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return;
	/* once more: a thread that had not been changed yet may have started another one */
	for (int i = 0; i < PASSES && set_threads(tasks, precedence ? NICE_PRECEDENCE : 0); i++)
		rewinddir(tasks);
	(void)closedir(tasks);
}

void priority_of_session(bool precedence)
{
	_cleanup_close_ int fd = -EBADF;

	if (getsid(0) != getpid())
		return;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)dprintf(fd, "%d", precedence ? NICE_PRECEDENCE : 0);
}
