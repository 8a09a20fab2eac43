#include "watch.h"

#include <sys/epoll.h>

#include "base/log.h"
#include "device/uevent.h"

#define BATCH_DEVICES 128
#define BATCH_EVENTS  4096

struct watch {
	struct watch_events events;
	int fd;
	bool lost; /* the kernel drops events until all that wait have been read */
	struct loop_fd *source;
};

/* Devices named by the events read at one time, each once: a storm is not worth more. */
struct batch {
	char knames[BATCH_DEVICES][LIMIT_KNAME];
	unsigned count;
};

static void batch_add(struct batch *batch, const struct uevent *event)
{
	if (!streq(event->subsystem, "block") || event->kname[0] == '\0')
		return;
	for (unsigned i = 0; i < batch->count; i++)
		if (streq(batch->knames[i], event->kname))
			return;
	(void)STR_COPY(batch->knames[batch->count], event->kname);
	batch->count++;
}

/*
 * ENOBUFS comes once; what is sent after it is dropped in silence until the queue is empty
 * (netlink_overrun() in net/netlink/af_netlink.c). So from then on events are only thrown away,
 * and devices are looked at when there are none left. Returns whether that is so.
 */
static bool batch_read(struct watch *w, struct batch *batch)
{
	struct uevent event;

	for (int i = 0; i < BATCH_EVENTS && batch->count < BATCH_DEVICES; i++) {
		int r = uevent_socket_read(w->fd, &event);

		if (r == 0 && !w->lost)
			batch_add(batch, &event);
		if (r == -ENOBUFS)
			w->lost = true;
		else if (r < 0)
			return true;
	}
	return false;
}

static void watch_readable(int fd, uint32_t events, void *data)
{
	struct watch *w = data;
	struct batch batch = {.count = 0};
	bool empty = batch_read(w, &batch);

	(void)fd;
	(void)events;
	if (!w->lost) {
		for (unsigned i = 0; i < batch.count; i++)
			w->events.device(batch.knames[i], w->events.data);
	} else if (empty) {
		w->lost = false;
		log_notice("uevents were lost, looking at all devices");
		w->events.lost(w->events.data);
	}
}

int watch_new(struct loop *loop, const struct watch_events *events, struct watch **ret_watch)
{
	struct watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->events = *events;
	w->fd = uevent_socket_open();
	r = w->fd < 0 ? w->fd : loop_fd_add(loop, w->fd, EPOLLIN, watch_readable, w, &w->source);
	if (r < 0) {
		watch_free(w);
		return r;
	}
	*ret_watch = w;
	return 0;
}

struct watch *watch_free(struct watch *w)
{
	if (!w)
		return NULL;
	loop_fd_remove(w->source);
	close_fd(w->fd);
	free(w);
	return NULL;
}
