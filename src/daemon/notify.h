/* Telling the service manager (sd_notify(3), whose protocol is a datagram to a unix socket). */
#pragma once

/*
 * Sends state ("READY=1") to $NOTIFY_SOCKET. Returns 0, also when the variable is not set, or
 * -errno.
 */
int notify_send(const char *state);
