#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "daemon/relay.h"
#include "device/uevent.h"
#include "source.h"

#define RETRY_MS 500

struct relay_source {
	const struct source_events *events;
	struct loop *loop;
	struct sockaddr_un address;
	int fd; /* negative: there is no relay; tried again, and told when it is there */
	bool lost;
	struct loop_fd *source;
	struct loop_timer *retry;
};

/* As uevent_socket_read(); -EPIPE: the relay has ended, or has cut us off since we were slow. */
static int packet_read(int fd, struct uevent *ret_event)
{
	char buf[LIMIT_UEVENT];
	ssize_t n;

	do {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EPIPE;
	} while (n < 0 || uevent_parse(buf, (size_t)n, ret_event) < 0);
	return 0;
}

static void connect_later(struct relay_source *s);

static void disconnect(struct relay_source *s, int r)
{
	log_notice("the relay is gone: %s; looking for it again", strerror(-r));
	s->source = loop_fd_remove(s->source);
	s->fd = close_fd(s->fd);
	connect_later(s);
}

static void readable(int fd, uint32_t events, void *data)
{
	struct relay_source *s = data;
	int r = source_read_events(fd, packet_read, &s->lost, s->events);

	(void)events;
	if (r < 0)
		disconnect(s, r);
}

/* A relay runs as root, or as the user that we are; root may be one that is not mapped here. */
static int check_peer(int fd)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == RELAY_OVERFLOW_UID || peer.uid == geteuid() ? 0
											: -EACCES;
}

static int try_connect(struct relay_source *s)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&s->address, sizeof(s->address)) < 0)
		return -errno;
	r = check_peer(fd);
	if (r == 0)
		r = loop_fd_add(s->loop, fd, EPOLLIN, readable, s, &s->source);
	if (r == 0)
		s->fd = TAKE_FD(fd);
	return r;
}

/* What happened while there was no relay is found by a look at everything. */
static void retry(void *data)
{
	struct relay_source *s = data;

	s->retry = loop_timer_remove(s->retry);
	if (try_connect(s) < 0) {
		connect_later(s);
		return;
	}
	log_notice("the relay at %s is there, looking at all devices", QUOTE(s->address.sun_path));
	s->events->lost(s->events->data);
}

static void connect_later(struct relay_source *s)
{
	int r = loop_timer_add(s->loop, RETRY_MS, retry, s, &s->retry);

	if (r < 0)
		log_err("no more events: cannot wait for the relay: %s", strerror(-r));
}

static void relay_stop(void *state)
{
	struct relay_source *s = state;

	if (!s)
		return;
	loop_fd_remove(s->source);
	loop_timer_remove(s->retry);
	close_fd(s->fd);
	free(s);
}

static int relay_start(const struct source_args *args, void **ret_state)
{
	struct relay_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct relay_source){.events = args->events, .loop = args->loop, .fd = -EBADF};
	s->address.sun_family = AF_UNIX;
	(void)STR_COPY(s->address.sun_path, args->path);
	r = try_connect(s);
	if (r < 0) {
		log_warning("no relay at %s: %s; looking for it again", QUOTE(args->path),
			    strerror(-r));
		connect_later(s);
	}
	*ret_state = s;
	return 0;
}

const struct source_kind source_relay = {relay_start, relay_stop};
