/*
 * Packets over a SOCK_SEQPACKET pair, each with at most one file descriptor beside it: what the
 * processes of the daemon speak among themselves.
 */
#pragma once

#include "util.h"

/*
 * Sends one packet, with fd if it is not negative (it stays the caller's). Never raises SIGPIPE.
 * Returns 0, -EPIPE when the other end is gone, -EAGAIN on a full non-blocking socket, or -errno.
 */
int packet_send(int sock, const void *data, size_t size, int fd);

/*
 * Receives one packet of at most size bytes. ret_fd: a new close-on-exec fd or -EBADF.
 * Returns its length, -EPIPE when the other end is gone, -EAGAIN on a non-blocking socket,
 * -EBADMSG when it is longer than size or has other things beside it, -ENFILE when it came whole
 * but there was no descriptor free for the fd beside it, which is lost, or -errno.
 */
ssize_t packet_receive(int sock, void *data, size_t size, int *ret_fd);
