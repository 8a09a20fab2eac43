/* Telling the service manager (sd_notify(3), whose protocol is a datagram to a unix socket). */
#pragma once

#include "base/loop.h"

/*
 * Sends state ("STOPPING=1") to $NOTIFY_SOCKET. Never waits: -EAGAIN if the manager does not read.
 * Returns 0, also when the variable is not set, or -errno.
 */
int notify_send(const char *state);
/* The same with a descriptor beside it (borrowed) if it is not negative. */
int notify_send_fd(const char *state, int fd);

struct notify_ready {
	struct loop *loop;
	struct loop_timer *timer;
	unsigned tries;
};

/*
 * Says READY=1, which a manager must not miss: to one that does not read, later, from the loop. A
 * failure is logged.
 */
void notify_ready(struct notify_ready *n, struct loop *loop);
/* It is not to be said any more. */
void notify_ready_done(struct notify_ready *n);

/* Whether there is somebody to tell. */
bool notify_wanted(void);
