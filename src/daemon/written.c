/*
 * Disks on which nothing to be shown was found, and that somebody has written to since: the kernel
 * sends no event for that. udevd does, by watching the nodes; where there is none, we watch those
 * of the disks that are not shown. A node of its own that a container has is another inode.
 */
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>

#include "base/log.h"
#include "context.h"

struct written {
	struct broker *broker;
	int fd;
	struct loop_fd *source;
};

static void tell(struct written *w, int watch)
{
	registry_for_each (m, &w->broker->registry) {
		if (m->state != MEDIUM_HIDDEN || m->node_watch != watch)
			continue;
		log_debug("%s: written to", m->dev.kname);
		reconcile_device(w->broker, m->dev.kname, RECONCILE_EVENT);
		return;
	}
	(void)inotify_rm_watch(w->fd, watch); /* it is gone, or shown */
}

static void readable(int fd, uint32_t events, void *data)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct written *w = data;
	ssize_t n = read(fd, buf, sizeof(buf));

	(void)events;
	if (w->broker->phase == BROKER_ENDING)
		return;
	for (const char *p = buf; n > 0 && p < buf + n;) {
		const struct inotify_event *event = (const struct inotify_event *)p;

		if (event->mask & IN_CLOSE_WRITE)
			tell(w, event->wd);
		p += sizeof(*event) + event->len;
	}
}

void written_start(struct broker *b)
{
	struct written *w = calloc(1, sizeof(*w));
	int r = w ? 0 : -ENOMEM;

	if (w) {
		*w = (struct written){.broker = b, .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
		r = w->fd < 0 ? -errno
			      : loop_fd_add(b->loop, w->fd, EPOLLIN, readable, w, &w->source);
	}
	if (r < 0) {
		log_warning(
			"a disk that is formatted while it is plugged in will not be noticed: %s",
			strerror(-r));
		w = written_free(w);
	}
	b->written = w;
}

struct written *written_free(struct written *w)
{
	if (!w)
		return NULL;
	loop_fd_remove(w->source);
	close_fd(w->fd);
	free(w);
	return NULL;
}

void written_watch(struct broker *b, struct medium *m)
{
	char path[PATH_MAX];

	if (!b->written)
		return;
	(void)snprintf(path, sizeof(path), "%s/%s", b->config->dev_dir, m->dev.kname);
	for (char *p = path + strlen(b->config->dev_dir) + 1; *p; p++)
		if (*p == '!')
			*p = '/';
	/* one that is watched already keeps its number */
	m->node_watch = inotify_add_watch(b->written->fd, path, IN_CLOSE_WRITE);
	if (m->node_watch < 0)
		log_debug("cannot watch %s: %s, ignoring", QUOTE(path), strerror(errno));
}
