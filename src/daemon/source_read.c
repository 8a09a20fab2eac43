#include "device/uevent.h"
#include "source.h"

#include "base/log.h"
#include "daemon/relay.h"

#define BATCH_DEVICES 128
#define BATCH_EVENTS  4096

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
 * and devices are looked at when there are none left. A relay tells of its own losses by an event.
 * Returns 0 if there may be more, or what ended it.
 */
static int batch_read(int fd, int (*read)(int fd, struct uevent *ret_event), bool *lost,
		      struct batch *batch)
{
	struct uevent event;

	for (int i = 0; i < BATCH_EVENTS && batch->count < BATCH_DEVICES; i++) {
		int r = read(fd, &event);

		if (r == -ENOBUFS || (r == 0 && streq(event.subsystem, RELAY_LOST_SUBSYSTEM)))
			*lost = true;
		else if (r < 0)
			return r;
		else if (!*lost)
			batch_add(batch, &event);
	}
	return 0;
}

int source_read_events(int fd, int (*read)(int fd, struct uevent *ret_event), bool *lost,
		       const struct source_events *events)
{
	struct batch batch = {.count = 0};
	int r = batch_read(fd, read, lost, &batch);

	if (!*lost) {
		for (unsigned i = 0; i < batch.count; i++)
			events->device(batch.knames[i], events->data);
	} else if (r < 0) {
		*lost = false;
		log_notice("uevents were lost, looking at all devices");
		events->lost(events->data);
	}
	return r == -EAGAIN ? 0 : r;
}
