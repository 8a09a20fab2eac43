#include "link.h"

#include <sys/socket.h>

union control_buffer {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* Only ADD and UPDATE carry the large part. */
static size_t message_size(enum link_type type)
{
	if (type == LINK_ADD || type == LINK_UPDATE)
		return sizeof(struct link_message);
	return offsetof(struct link_message, info);
}

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

int link_send(int sock, const struct link_message *message, int fd)
{
	union control_buffer control = {0};
	struct iovec iov = {(void *)message, message_size(message->type)};
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
 * Takes the fd that a message may carry. The buffer's alignment leaves room for a second one,
 * which nobody sends: then all are closed and the message is refused.
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

static bool message_valid(const struct link_message *message, size_t size, int msg_flags)
{
	if (msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return false;
	if (size < offsetof(struct link_message, info))
		return false;
	return size == message_size(message->type);
}

int link_receive(int sock, struct link_message *ret_message, int *ret_fd)
{
	union control_buffer control = {0};
	struct link_message message = {0};
	struct iovec iov = {&message, sizeof(message)};
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
	if (detach_fd(&msg, &fd) < 0 || !message_valid(&message, (size_t)n, msg.msg_flags))
		return -EBADMSG;
	*ret_message = message;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
