/*
 * A process that shares our table of file descriptors and does nothing: when we are killed, it
 * still has all that was open, and whoever takes our place can have it from there. It costs
 * nothing while we live, since no descriptor is handed over before.
 */
#pragma once

#include "util.h"

/*
 * Starts it. sock: one end of a SOCK_SEQPACKET pair, to stay open as long as we live; the other end
 * is kept by somebody who outlives us. It ends, and lets go of everything, when that other end is
 * closed. Must be called while the process has one thread (clone(2) with CLONE_FILES). Returns 0 or
 * -errno.
 */
int fdstore_start(int sock);

/*
 * Asks the one at the other end of sock for count descriptors by the numbers that they had in the
 * process that died. ret_fds: new close-on-exec fds, or -EBADF for a number that was not open.
 * Blocks until it has answered; it does no I/O. Returns 0, or -errno: then none is left open.
 */
int fdstore_fetch(int sock, const int *numbers, size_t count, int *ret_fds);
