/*
 * Processes that cannot be made, on command, for LD_PRELOAD. FORKFAIL names a file: while a process
 * id is in it, fork() of that process fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

pid_t __libc_fork(void); /* the C library's own (glibc, posix/fork.c) */

static long pid_in(const char *path)
{
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	char text[32] = "";

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	(void)close(fd);
	return strtol(text, NULL, 10);
}

pid_t fork(void)
{
	if (pid_in(getenv("FORKFAIL")) != getpid())
		return __libc_fork();
	errno = EAGAIN;
	return -1;
}
