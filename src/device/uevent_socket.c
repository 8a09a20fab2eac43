#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "base/log.h"
#include "device/uevent.h"

#define KERNEL_GROUP   1u
#define RECEIVE_BUFFER (16 << 20) /* thousands of events while the broker is busy */
#define OVERFLOW_UID   65534u	  /* who is not mapped in our user namespace looks like this */

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

int uevent_socket_check(int fd)
{
	struct sockaddr_nl address = {0};
	socklen_t size = sizeof(address);
	int domain = 0, protocol = -1;
	socklen_t length = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0)
		return errno == ENOTSOCK ? -EPROTOTYPE : -errno;
	if (getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) < 0)
		return -errno;
	if (domain != AF_NETLINK || protocol != NETLINK_KOBJECT_UEVENT)
		return -EPROTOTYPE;
	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	if (!(address.nl_groups & KERNEL_GROUP))
		return -EADDRNOTAVAIL;
	return 0;
}

int uevent_socket_adopt(int fd)
{
	static const int on = 1;
	int r = uevent_socket_check(fd);

	if (r < 0)
		return r;
	enlarge_buffer(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	return 0;
}

static bool credentials_of(struct msghdr *message, struct ucred *ret_credentials)
{
	const struct cmsghdr *header = CMSG_FIRSTHDR(message);

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS)
		return false;
	memcpy(ret_credentials, CMSG_DATA(header), sizeof(*ret_credentials));
	return true;
}

static bool user_trusted(uid_t uid, enum uevent_senders senders)
{
	return uid == 0 || uid == OVERFLOW_UID ||
	       (senders == UEVENT_FROM_RELAY && uid == geteuid());
}

static bool trusted(struct msghdr *message, const struct sockaddr_nl *sender,
		    enum uevent_senders senders)
{
	struct ucred credentials = {.pid = -1};

	if (!(message->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) &&
	    credentials_of(message, &credentials) && sender->nl_pid == 0 &&
	    sender->nl_groups & KERNEL_GROUP &&
	    (credentials.pid == 0 || senders == UEVENT_FROM_RELAY) &&
	    user_trusted(credentials.uid, senders))
		return true;
	log_debug("an event that the kernel did not send (port %u, pid %d, uid %u), ignoring",
		  sender->nl_pid, credentials.pid, credentials.uid);
	return false;
}

ssize_t uevent_socket_receive(int fd, enum uevent_senders senders, char *buf, size_t size)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char space[CMSG_SPACE(sizeof(struct ucred))];
		} control;
		struct sockaddr_nl sender = {0};
		struct iovec iov = {.iov_base = buf, .iov_len = size};
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
		if (trusted(&message, &sender, senders))
			return n;
	}
}

static int read_event(int fd, enum uevent_senders senders, struct uevent *ret_event)
{
	char buf[LIMIT_UEVENT];
	ssize_t n;

	do
		n = uevent_socket_receive(fd, senders, buf, sizeof(buf));
	while (n >= 0 && uevent_parse(buf, (size_t)n, ret_event) < 0);
	return n < 0 ? (int)n : 0;
}

int uevent_socket_read(int fd, struct uevent *ret_event)
{
	return read_event(fd, UEVENT_FROM_KERNEL, ret_event);
}

int uevent_socket_read_relayed(int fd, struct uevent *ret_event)
{
	return read_event(fd, UEVENT_FROM_RELAY, ret_event);
}
