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

/* Takes the one fd that a message may carry. */
static int detach_fd(struct msghdr *msg)
{
	int fd = -EBADF;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
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
	fd = detach_fd(&msg);
	if (!message_valid(&message, (size_t)n, msg.msg_flags))
		return -EBADMSG;
	*ret_message = message;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
