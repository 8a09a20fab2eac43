#include "packet.h"

#include <sys/socket.h>

union control_buffer {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void attach_fd(struct msghdr *msg, union control_buffer *control, int fd)
{
	struct cmsghdr *cmsg;

	msg->msg_control = control->bytes;
	msg->msg_controllen = sizeof(control->bytes);
	cmsg = CMSG_FIRSTHDR(msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
}

int packet_send(int sock, const void *data, size_t size, int fd)
{
	union control_buffer control = {0};
	struct iovec iov = {(void *)data, size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0)
		attach_fd(&msg, &control, fd);
	for (;;) {
		if (sendmsg(sock, &msg, MSG_NOSIGNAL) >= 0)
			return 0;
		if (errno == ECONNRESET)
			return -EPIPE;
		if (errno != EINTR)
			return -errno;
	}
}

/*
 * Takes the fd that a packet may carry. The buffer's alignment leaves room for a second one,
 * which nobody sends: then all are closed and the packet is refused.
 */
static int detach_fd(struct msghdr *msg, int *ret_fd)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
	int fds[sizeof(union control_buffer) / sizeof(int)];
	size_t count;

	if (!cmsg)
		return 0;
	if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(cmsg), count * sizeof(int));
	if (count == 1) {
		*ret_fd = fds[0];
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		close_fd(fds[i]);
	return -EBADMSG;
}

ssize_t packet_receive(int sock, void *data, size_t size, int *ret_fd)
{
	union control_buffer control = {0};
	struct iovec iov = {data, size};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	_cleanup_close_ int fd = -EBADF;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return -EPIPE;
	if (n < 0)
		return -errno;
	if (detach_fd(&msg, &fd) < 0 || (msg.msg_flags & MSG_TRUNC))
		return -EBADMSG;
	if (msg.msg_flags & MSG_CTRUNC)
		return fd < 0 ? -ENFILE : -EBADMSG;
	*ret_fd = TAKE_FD(fd);
	return n;
}
