#include "terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "base/util.h"

enum terminal_place terminal_choose(void)
{
	_cleanup_close_ int fd = -EBADF;

	if (tcgetpgrp(STDIN_FILENO) == getpgrp() && isatty(STDOUT_FILENO))
		return TERMINAL_FOREGROUND;
	fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 ? TERMINAL_SHARED : TERMINAL_NONE;
}

void terminal_enter(enum terminal_place place)
{
	switch (place) {
	case TERMINAL_NONE:
		(void)setsid();
		/* A terminal that is nobody's becomes ours; anything else refuses. */
		(void)ioctl(STDIN_FILENO, TIOCSCTTY, 0);
		break;
	case TERMINAL_FOREGROUND:
		(void)setpgid(0, 0);
		/* From the background, which we are in now, this would stop us. */
		(void)signal(SIGTTOU, SIG_IGN);
		(void)tcsetpgrp(STDIN_FILENO, getpid());
		(void)signal(SIGTTOU, SIG_DFL);
		break;
	case TERMINAL_SHARED:
		break;
	}
}

void terminal_give(pid_t group)
{
	if (tcgetpgrp(STDIN_FILENO) == getpgrp())
		(void)tcsetpgrp(STDIN_FILENO, group);
}

void terminal_take(pid_t group)
{
	pid_t holder = tcgetpgrp(STDIN_FILENO);
	bool gone = holder > 0 && kill(-holder, 0) < 0 && errno == ESRCH;

	if (holder == group || gone)
		(void)tcsetpgrp(STDIN_FILENO, getpgrp());
}
