/* Telling the service manager (sd_notify(3), whose protocol is a datagram to a unix socket). */
#pragma once

#include "base/util.h"

/*
 * Sends state ("READY=1") to $NOTIFY_SOCKET. Returns 0, also when the variable is not set, or
 * -errno.
 */
int notify_send(const char *state);
/* The same without waiting (-EAGAIN), with a descriptor beside it (borrowed) if it is not negative.
 */
int notify_send_fd(const char *state, int fd);

/* Whether there is somebody to tell. */
bool notify_wanted(void);
