#include "notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"

/* As long as a manager waits for a service (DefaultTimeoutStartSec= of systemd). */
#define READY_AGAIN_MS 100
#define READY_TRIES    900

/* "/path", or "@name" in the abstract namespace; vsock is for virtual machines' own init. */
static int address(const char *text, struct sockaddr_un *ret_sun, socklen_t *ret_len)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len < 2)
		return -EAFNOSUPPORT;
	if (len > sizeof(ret_sun->sun_path))
		return -E2BIG;
	*ret_sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret_sun->sun_path, text, len);
	if (text[0] == '@')
		ret_sun->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

bool notify_wanted(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	return path && *path;
}

static int send_to(int sock, const struct sockaddr_un *sun, socklen_t len, const char *state,
		   int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (char *)state, .iov_len = strlen(state)};
	struct msghdr message = {
		.msg_name = (void *)sun, .msg_namelen = len, .msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS,
						 .cmsg_len = CMSG_LEN(sizeof(int))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &fd, sizeof(fd));
	}
	return sendmsg(sock, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int notify_send_fd(const char *state, int fd)
{
	_cleanup_close_ int sock = -EBADF;
	struct sockaddr_un sun;
	socklen_t len;
	int r;

	if (!notify_wanted())
		return 0;
	r = address(getenv("NOTIFY_SOCKET"), &sun, &len);
	if (r < 0)
		return r;
	sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	return send_to(sock, &sun, len, state, fd);
}

int notify_send(const char *state)
{
	return notify_send_fd(state, -EBADF);
}

static void say_ready(void *data)
{
	struct notify_ready *n = data;
	int r = notify_send("READY=1");

	n->timer = loop_timer_remove(n->timer);
	if (r == -EAGAIN && n->tries++ < READY_TRIES)
		r = loop_timer_add(n->loop, READY_AGAIN_MS, say_ready, n, &n->timer);
	if (r < 0)
		log_warning("cannot notify $NOTIFY_SOCKET: %s, ignoring", strerror(-r));
}

void notify_ready(struct notify_ready *n, struct loop *loop)
{
	*n = (struct notify_ready){.loop = loop};
	say_ready(n);
}

void notify_ready_done(struct notify_ready *n)
{
	n->timer = loop_timer_remove(n->timer);
}
