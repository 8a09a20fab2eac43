#include "priority.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>

#define NICE_PRECEDENCE (-20)

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

void priority_of_process(pid_t pid, bool precedence)
{
	const struct dirent *entry;
	char path[32];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			(void)setpriority(PRIO_PROCESS, (id_t)atoi(entry->d_name),
					  precedence ? NICE_PRECEDENCE : 0);
	if (dir)
		(void)closedir(dir);
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
