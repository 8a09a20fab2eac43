#include "context.h"

#include "base/log.h"
#include "daemon/helper.h"
#include "daemon/mountpoint.h"
#include "daemon/notify.h"

/* Each step has its time; then the next one follows, whatever hangs. */
#define SYNC_DEADLINE_MS    5000
#define MEDIA_DEADLINE_MS   10000
#define UNMOUNT_DEADLINE_MS 5000
#define SERVER_DEADLINE_MS  2000
#define KILLED_DEADLINE_MS  1000

enum shutdown_step {
	SHUTDOWN_SYNC,	 /* what the kernel has not yet given to the server */
	SHUTDOWN_MEDIA,	 /* all filesystems: close, sync, unmount */
	SHUTDOWN_VIEW,	 /* unmount the view */
	SHUTDOWN_SERVER, /* end the server */
};

struct shutdown {
	enum shutdown_step step;
	int code;
	struct helper *helper;
	struct loop_timer *timer;
};

static void end_loop(struct broker *b)
{
	int code = b->shutdown->code;

	helper_cancel(b->shutdown->helper);
	loop_timer_remove(b->shutdown->timer);
	free(b->shutdown);
	b->shutdown = NULL;
	loop_quit(b->loop, code);
}

void shutdown_server_ended(struct broker *b)
{
	if (b->shutdown && b->shutdown->step == SHUTDOWN_SERVER)
		end_loop(b);
}

/* Even a killed process stays while it waits for a device that hangs. */
static void server_expired(void *data)
{
	struct broker *b = data;

	log_warning("the server hangs on a device and is left behind");
	end_loop(b);
}

static void view_unmounted(int err, void *data)
{
	struct broker *b = data;
	struct shutdown *s = b->shutdown;

	s->helper = NULL;
	s->step = SHUTDOWN_SERVER;
	if (err < 0)
		log_warning("cannot unmount %s in order: %s", QUOTE(b->mountpoint), strerror(-err));
	(void)loop_timer_add(b->loop, SERVER_DEADLINE_MS + KILLED_DEADLINE_MS, server_expired, b,
			     &s->timer);
	supervisor_quit(b->server, SERVER_DEADLINE_MS);
}

/* In a child, as do_sync(). */
static int do_unmount(const void *mountpoint)
{
	return mountpoint_unmount(mountpoint);
}

static void step_view(struct broker *b)
{
	struct shutdown *s = b->shutdown;
	int r;

	s->step = SHUTDOWN_VIEW;
	s->timer = loop_timer_remove(s->timer);
	announcer_stop(b->announcer);
	supervisor_expect_end(b->server);
	r = helper_start(b->loop, do_unmount, b->mountpoint, UNMOUNT_DEADLINE_MS, view_unmounted, b,
			 &s->helper);
	if (r < 0)
		view_unmounted(r, b);
}

void shutdown_medium_rests(struct broker *b)
{
	if (!b->shutdown || b->shutdown->step != SHUTDOWN_MEDIA)
		return;
	registry_for_each (m, &b->registry)
		if (medium_is_engaged(m))
			return;
	step_view(b);
}

static void media_expired(void *data)
{
	struct broker *b = data;

	registry_for_each (m, &b->registry)
		if (medium_is_engaged(m))
			log_warning("%s could not be unmounted in time", QUOTE(m->name));
	step_view(b);
}

static void step_media(struct broker *b)
{
	struct shutdown *s = b->shutdown;

	registry_for_each (m, &b->registry)
		closing_for_exit(b, m);
	s->step = SHUTDOWN_MEDIA;
	(void)loop_timer_add(b->loop, MEDIA_DEADLINE_MS, media_expired, b, &s->timer);
	shutdown_medium_rests(b);
}

static void view_synced(int err, void *data)
{
	struct broker *b = data;

	b->shutdown->helper = NULL;
	if (err < 0)
		log_debug("cannot sync %s: %s, ignoring", QUOTE(b->mountpoint), strerror(-err));
	step_media(b);
}

static void stop_sources(struct broker *b)
{
	b->watch = watch_free(b->watch);
	b->control = control_free(b->control);
	power_stop(b);
	b->ready_timer = loop_timer_remove(b->ready_timer);
	notify_ready_done(&b->ready);
	registry_for_each (m, &b->registry)
		probing_cancel(b, m);
}

static int do_sync(const void *mountpoint)
{
	return mountpoint_sync(mountpoint);
}

/* A second signal: whoever sends it does not want to wait. */
static void hurry(struct broker *b)
{
	struct shutdown *s = b->shutdown;

	if (s->step == SHUTDOWN_SYNC) {
		s->helper = helper_cancel(s->helper);
		step_media(b);
	} else if (s->step == SHUTDOWN_MEDIA) {
		media_expired(b);
	}
}

void shutdown_begin(struct broker *b, int code)
{
	int r = -ENOTCONN;

	if (b->shutdown) {
		hurry(b);
		return;
	}
	b->shutdown = calloc(1, sizeof(*b->shutdown));
	if (!b->shutdown) {
		loop_quit(b->loop, -ENOMEM);
		return;
	}
	b->phase = BROKER_ENDING;
	upgrade_cancel(b);
	keep_forget(b);
	b->shutdown->code = code;
	(void)notify_send("STOPPING=1");
	stop_sources(b);
	drives_unwatch_all(b);
	if (supervisor_running(b->server))
		r = helper_start(b->loop, do_sync, b->mountpoint, SYNC_DEADLINE_MS, view_synced, b,
				 &b->shutdown->helper);
	if (r < 0)
		view_synced(r, b);
}
