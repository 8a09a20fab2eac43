#include <linux/netlink.h>
#include <sys/socket.h>

#include "device/uevent.h"

#define KERNEL_GROUP   1u
#define RECEIVE_BUFFER (16 << 20) /* thousands of events while the broker is busy */

/* Forcing needs CAP_NET_ADMIN; the plain option goes up to net.core.rmem_max. */
static void enlarge_buffer(int fd)
{
	static const int size = RECEIVE_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

int uevent_socket_open(void)
{
	static const struct sockaddr_nl address = {.nl_family = AF_NETLINK,
						   .nl_groups = KERNEL_GROUP};
	static const int on = 1;
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
					NETLINK_KOBJECT_UEVENT);

	if (fd < 0)
		return -errno;
	enlarge_buffer(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* The kernel sends from port 0 and with pid 0; a message made by a process has one of them. */
static bool from_kernel(struct msghdr *message, const struct sockaddr_nl *sender)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);
	struct ucred credentials;

	if (message->msg_flags & (MSG_TRUNC | MSG_CTRUNC) || sender->nl_pid != 0 ||
	    !(sender->nl_groups & KERNEL_GROUP))
		return false;
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS)
		return false;
	memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
	return credentials.pid == 0;
}

int uevent_socket_read(int fd, struct uevent *ret_event)
{
	for (;;) {
		char buf[LIMIT_UEVENT];
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(sizeof(struct ucred))];
		} control;
		struct sockaddr_nl sender = {0};
		struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
		struct msghdr message = {
			.msg_name = &sender,
			.msg_namelen = sizeof(sender),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (from_kernel(&message, &sender) && uevent_parse(buf, (size_t)n, ret_event) == 0)
			return 0;
	}
}
