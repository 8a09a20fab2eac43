#include "context.h"

#include "base/log.h"
#include "daemon/mountpoint.h"
#include "daemon/notify.h"

void server_send(struct broker *b, const struct medium *m, enum link_type type, uint32_t flags,
		 int err, int fd)
{
	struct link_message message = {.type = type, .id = m->id, .flags = flags, .err = err};

	supervisor_send(b->server, &message, fd);
}

/*
 * The kernel's own 128 KiB make small pieces, of which files are cached as well: a cached MiB took
 * 117 us for 69. But a page fault of a mapping reads as much around it, too, as long as they are
 * random (do_sync_mmap_readahead() in mm/filemap.c): on a stick of 30 MB/s one took 20 ms, with
 * 3840 KiB 135, natively 5.
 */
#define READAHEAD_KIB 512

static void raise_readahead(const struct broker *b)
{
	int r = mountpoint_readahead(b->mountpoint, b->sysfs_fd, READAHEAD_KIB);

	if (r < 0)
		log_info("cannot set the view's readahead in /sys: %s, large reads are slower",
			 errno_name(-r));
}

static void on_ready(struct broker *b, const struct link_message *message)
{
	b->passthrough = message->flags & LINK_FEATURE_PASSTHROUGH;
	b->resend = message->flags & LINK_FEATURE_RESEND;
	b->server_ready = true;
	log_debug("the server is ready, features %#x", message->flags);
	if (!b->passthrough)
		raise_readahead(b);
	broker_server_ready(b);
}

static void on_added(struct broker *b, struct medium *m, const struct link_message *message)
{
	(void)message;
	visibility_added(b, m);
}

static void on_want_mount(struct broker *b, struct medium *m, const struct link_message *message)
{
	(void)message;
	storage_want_mount(b, m);
}

static void on_idle(struct broker *b, struct medium *m, const struct link_message *message)
{
	(void)message;
	if (m->state == MEDIUM_CLEAN || m->state == MEDIUM_DIRTY)
		closing_start(b, m, MEDIUM_CLOSE_IDLE);
}

static void on_fenced(struct broker *b, struct medium *m, const struct link_message *message)
{
	(void)message;
	visibility_fenced(b, m);
}

/* What the announcer reports says more surely when a name has come or gone. */
static const struct {
	enum link_type type;
	void (*fn)(struct broker *, struct medium *, const struct link_message *);
} handlers[] = {
	{LINK_ADDED, on_added}, {LINK_WANT_MOUNT, on_want_mount}, {LINK_USE, storage_use},
	{LINK_IDLE, on_idle},	{LINK_CLOSED, closing_closed},	  {LINK_FENCED, on_fenced},
};

static void on_message(const struct link_message *message, int fd, void *data)
{
	struct broker *b = data;
	struct medium *m = registry_find(&b->registry, message->id);

	close_fd(fd);
	if (message->type == LINK_READY)
		on_ready(b, message);
	for (size_t i = 0; m && i < ARRAY_SIZE(handlers); i++)
		if (handlers[i].type == message->type)
			handlers[i].fn(b, m, message);
}

static void tell_announcer(struct broker *b, pid_t pid)
{
	struct link_message message = {.type = LINK_ANNOUNCER, .pid = pid};

	supervisor_send(b->server, &message, -EBADF);
}

void server_announcer_started(pid_t pid, void *data)
{
	tell_announcer(data, pid);
}

/* Once it is started, the server serves what it has been told so far, and nothing else. */
static void on_started(bool again, void *data)
{
	static const struct link_message start = {.type = LINK_START};
	struct broker *b = data;
	int r = 0;

	(void)again;
	b->server_ready = false;
	precedence_server_started(b);
	if (announcer_pid(b->announcer) > 0)
		tell_announcer(b, announcer_pid(b->announcer));
	else
		r = announcer_start(b->announcer);
	if (r < 0)
		log_err("cannot start the announcer: %s", strerror(-r));
	visibility_resend(b);
	supervisor_send(b->server, &start, -EBADF);
}

static void on_ended(int err, void *data)
{
	struct broker *b = data;

	if (b->phase == BROKER_ENDING) {
		shutdown_server_ended(b);
		return;
	}
	if (err == -ENOTCONN)
		log_err("%s was unmounted by somebody else, ending", QUOTE(b->mountpoint));
	if (b->workload)
		running_lost(b, err);
	else
		shutdown_begin(b, err);
}

const struct supervisor_events server_events = {
	.started = on_started,
	.message = on_message,
	.ended = on_ended,
};
