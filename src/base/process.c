#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <paths.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

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

void process_fill_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR | O_NOCTTY); /* the lowest that is free */
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_fd(fd);
}

void process_ignore_stop(void)
{
	const int stops[] = {SIGINT,	   SIGTERM, SIGQUIT, SIGHUP,
			     SIGRTMIN + 3, SIGTSTP, SIGTTIN, SIGTTOU};

	for (size_t i = 0; i < ARRAY_SIZE(stops); i++)
		(void)signal(stops[i], SIG_IGN);
}

int process_die_with(pid_t parent)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return -errno;
	return getppid() == parent ? 0 : -ESRCH;
}

void process_kill_new(pid_t pid)
{
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static bool is_in_path(const char *name)
{
	const char *path = getenv("PATH");
	const char *next;

	if (!path)
		path = _PATH_DEFPATH;
	for (;; path = next + 1) {
		char file[PATH_MAX];

		next = strchrnul(path, ':');
		(void)snprintf(file, sizeof(file), "%.*s/%s", (int)(next - path), path, name);
		if (access(next == path ? name : file, F_OK) == 0)
			return true;
		if (!*next)
			return false;
	}
}

int process_exec(char *const *argv)
{
	int r;

	(void)execvp(argv[0], argv);
	r = -errno;
	if (r == -EACCES && !strchr(argv[0], '/') && !is_in_path(argv[0]))
		return -ENOENT;
	return r;
}

/*
 * The state is the first letter behind the name, which is in parentheses and may hold any. X,
 * "dead", for what has ended since it was listed.
 */
static char thread_state(int task_fd, const char *tid)
{
	char path[32];
	char text[128];
	const char *end;
	_cleanup_close_ int fd = -EBADF;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%.20s/stat", tid);
	fd = openat(task_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[MAX(n, 0)] = '\0';
	end = strrchr(text, ')');
	return end && end[1] == ' ' && end[2] ? end[2] : 'X';
}

/* Whether a thread is in one of these states. */
static bool has_thread(pid_t pid, const char *states)
{
	const struct dirent *entry;
	bool found = false;
	char path[32];
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.' &&
			strchr(states, thread_state(dirfd(dir), entry->d_name));
	if (dir)
		(void)closedir(dir);
	return found;
}

bool process_waits(pid_t pid)
{
	return has_thread(pid, "D");
}

bool process_hangs(pid_t pid)
{
	return !has_thread(pid, "RSTt");
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
