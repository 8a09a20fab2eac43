#include <sys/epoll.h>

#include "base/log.h"
#include "device/uevent.h"
#include "source.h"

struct socket_source {
	const struct source_events *events;
	int fd;
	int (*read)(int fd, struct uevent *ret_event);
	bool lost;
	struct loop_fd *source;
};

static void readable(int fd, uint32_t events, void *data)
{
	struct socket_source *s = data;
	int r = source_read_events(fd, s->read, &s->lost, s->events);

	(void)events;
	if (r < 0) {
		log_err("no more events: cannot read the socket: %s", strerror(-r));
		s->source = loop_fd_remove(s->source);
	}
}

static void socket_stop(void *state)
{
	struct socket_source *s = state;

	if (!s)
		return;
	loop_fd_remove(s->source);
	close_fd(s->fd);
	free(s);
}

static int socket_start(const struct source_args *args, void **ret_state)
{
	struct socket_source *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close_fd(args->fd);
		return -ENOMEM;
	}
	*s = (struct socket_source){.events = args->events, .fd = args->fd};
	s->read = args->relayed ? uevent_socket_read_relayed : uevent_socket_read;
	r = loop_fd_add(args->loop, s->fd, EPOLLIN, readable, s, &s->source);
	if (r < 0) {
		socket_stop(s);
		return r;
	}
	*ret_state = s;
	return 0;
}

const struct source_kind source_socket = {socket_start, socket_stop};
