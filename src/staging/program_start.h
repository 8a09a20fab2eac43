/* Starting a driver program. Internal to staging/. */
#pragma once

#include <sys/types.h>

#include "staging/drivers.h"

struct program_order {
	const struct driver *driver;
	const char *dev_dir;
	const char *kname;
	dev_t devnum;
	const char *options; /* comma separated */
	bool read_only;
	int fuse_fd;	 /* the connection, mounted already; borrowed */
	int listener_to; /* of a driver that mounts: where its seccomp listener is sent; borrowed */
};

/*
 * Forks a process that becomes the program: in the foreground, without capabilities, under a
 * seccomp filter and in a root directory of its own (program_root.h). ret_words: where to read what
 * it writes to stdout and stderr, also why it could not be started; the caller's. It gets SIGTERM
 * when the caller ends, so that it writes out what it has. Never waits for the device. Returns 0 or
 * -errno.
 */
int program_fork(const struct program_order *order, pid_t *ret_pid, int *ret_words);
