#include "relay_netns.h"

#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "daemon/relay.h"
#include "device/uevent.h"

int relay_netns_open(int pidfd)
{
	_cleanup_close_ int fd = -EBADF;
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	if (setns(pidfd, CLONE_NEWNET) < 0 && setns(pidfd, CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* The answer waits already: the kernel handles a message while it is being sent. */
static int read_answer(int fd)
{
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[256];
	} answer;
	ssize_t n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(answer.header) + sizeof(answer.error.error) ||
	    answer.header.nlmsg_type != NLMSG_ERROR)
		return -EPROTO;
	return answer.error.error;
}

static int message_send(int fd, const char *body, size_t len)
{
	struct nlmsghdr header = {
		.nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len),
		.nlmsg_type = NLMSG_MIN_TYPE,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
	};
	struct iovec iov[] = {{&header, sizeof(header)}, {(void *)(uintptr_t)body, len}};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = ARRAY_SIZE(iov)};

	_Static_assert(sizeof(header) == NLMSG_HDRLEN, "nothing between header and body");
	if (sendmsg(fd, &message, 0) < 0)
		return -errno;
	return read_answer(fd);
}

int relay_netns_send(int fd, const char *message, size_t len)
{
	char body[LIMIT_UEVENT];
	ssize_t n = uevent_without_seqnum(message, len, body, sizeof(body));

	return n < 0 ? (int)n : message_send(fd, body, (size_t)n);
}

int relay_netns_lost(int fd)
{
	static const char body[] = "change@/" RELAY_LOST_SUBSYSTEM "\0"
				   "ACTION=change\0"
				   "DEVPATH=/" RELAY_LOST_SUBSYSTEM "\0"
				   "SUBSYSTEM=" RELAY_LOST_SUBSYSTEM;

	return message_send(fd, body, sizeof(body));
}
