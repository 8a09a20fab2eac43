#include "context.h"

#include "base/log.h"
#include "daemon/helper.h"

/* Shutting down and detaching waits for requests that a dead device may never answer. */
#define ABANDON_DEADLINE_MS 60000

static void stop_timers(struct medium *m)
{
	m->udev_timer = loop_timer_remove(m->udev_timer);
	m->sync_timer = loop_timer_remove(m->sync_timer);
	m->close_timer = loop_timer_remove(m->close_timer);
	m->update_timer = loop_timer_remove(m->update_timer);
	m->claim = helper_cancel(m->claim);
}

static void abandoned(const struct staging_result *result, void *data)
{
	struct medium *m = data;

	m->job = NULL;
	if (result->err < 0)
		log_warning("what was mounted from %s could not be detached: %s", m->dev.kname,
			    strerror(-result->err));
	removal_finish(m->broker, m);
}

/* A mount that is still going on is undone by staging itself. */
static void abandon(struct broker *b, struct medium *m)
{
	bool mounting = m->state == MEDIUM_MOUNTING;
	bool maybe_mounted = medium_is_engaged(m) || m->umount_err != 0;
	struct staging_abandon what = {.id = m->id, .root_fd = m->root_fd};
	int r;

	m->job = staging_job_forget(m->job);
	if (mounting || !maybe_mounted)
		return;
	what.shutdown = m->driver->has_shutdown;
	r = staging_abandon_start(b->staging, &what, ABANDON_DEADLINE_MS, abandoned, m, &m->job);
	if (r < 0) {
		log_warning("what was mounted from %s could not be detached: %s", m->dev.kname,
			    strerror(-r));
		close_fd(m->root_fd);
	}
	m->root_fd = -EBADF;
}

void removal_cut_off(struct broker *b, const struct medium *m)
{
	if (medium_is_engaged(m) || m->umount_err != 0)
		drives_cut_off(b, &m->dev);
}

/* The fence comes before everything else: nothing may reach what is on the device now. */
void removal_start(struct broker *b, struct medium *m)
{
	visibility_hide(b, m);
	stop_timers(m);
	probing_cancel(b, m);
	abandon(b, m);
	if (m->state == MEDIUM_EJECTING || m->asked != MEDIUM_ASKED_NOTHING)
		commands_eject_done(b, m, -ENODEV, "it was removed before it was unmounted");
	else if (m->state == MEDIUM_EJECTED)
		commands_eject_done(b, m, closing_flaw(m) ? -EIO : 0, m->reason);
	log_debug("%s: gone", m->dev.kname);
	m->redecide = false;
	medium_set_state(m, MEDIUM_REMOVED);
	power_removed(b);
	removal_finish(b, m);
	probing_go_on(b);
	if (b->phase == BROKER_ENDING)
		shutdown_medium_rests(b);
}

static void reap(void *data)
{
	struct broker *b = data;

	b->reap_timer = loop_timer_remove(b->reap_timer);
	registry_for_each (m, &b->registry)
		if (m->state == MEDIUM_REMOVED && m->view == MEDIUM_ABSENT && !m->job)
			registry_drop(&b->registry, m);
}

/* Not at once: callers up the stack may still look at it. */
void removal_finish(struct broker *b, struct medium *m)
{
	if (m->state == MEDIUM_REMOVED && m->view == MEDIUM_ABSENT && !m->job && !b->reap_timer)
		(void)loop_timer_add(b->loop, 0, reap, b, &b->reap_timer);
}
