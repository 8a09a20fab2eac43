#include "context.h"

#include <stdio.h>

#include "base/log.h"
#include "daemon/helper.h"
#include "device/claim.h"

/* How long the server may take to give back the root of a filesystem that somebody wants out. */
#define CLOSE_PATIENCE_MS 10000
#define EXIT_PATIENCE_MS  3000
/* close(2) does not wait until the server hears of it: files count as open a little longer. */
#define RELEASE_PATIENCE_MS 500
#define RELEASE_RETRY_MS    20
/* To open a device that nobody of us uses. */
#define CLAIM_DEADLINE_MS 10000
/* Until the next try to unmount what has to go, for which there was no descriptor. */
#define UMOUNT_RETRY_MS 500

#define CLAIMED "another mount or program holds the device"

static const struct {
	uint32_t flags;	      /* of LINK_CLOSE */
	bool force;	      /* what still uses it does not matter */
	uint64_t patience_ms; /* 0: for ever */
	enum medium_state state;
} purposes[] = {
	[MEDIUM_CLOSE_IDLE] = {LINK_CLOSE_IDLE, false, 0, MEDIUM_CLOSING},
	[MEDIUM_CLOSE_EJECT] = {LINK_CLOSE_EJECT, false, CLOSE_PATIENCE_MS, MEDIUM_EJECTING},
	[MEDIUM_CLOSE_EJECT_FORCE] = {LINK_CLOSE_FORCE, true, CLOSE_PATIENCE_MS, MEDIUM_EJECTING},
	[MEDIUM_CLOSE_HIDE] = {LINK_CLOSE_FORCE, true, CLOSE_PATIENCE_MS, MEDIUM_EJECTING},
	[MEDIUM_CLOSE_EXIT] = {LINK_CLOSE_FORCE, true, EXIT_PATIENCE_MS, MEDIUM_EJECTING},
	[MEDIUM_CLOSE_DIED] = {LINK_CLOSE_FORCE, true, CLOSE_PATIENCE_MS, MEDIUM_EJECTING},
};

/* For all that was asked for. */
static void answer(struct broker *b, struct medium *m, int err, const char *text)
{
	m->asked = MEDIUM_ASKED_NOTHING;
	commands_eject_done(b, m, err, text);
}

/* The filesystem stays mounted. A server that has given its root back gets another one. */
static void give_up(struct broker *b, struct medium *m, int err, const char *why)
{
	bool forced_next = m->asked == MEDIUM_ASKED_EJECT_FORCE;

	server_send(b, m, LINK_OPEN, 0, 0, -EBADF);
	if (m->root_fd >= 0) {
		if (m->step != MEDIUM_STEP_SERVER)
			server_send(b, m, LINK_ROOT, 0, 0, m->root_fd);
		m->wanted = false;
		storage_settle(b, m);
	} else {
		medium_set_reason(m, "%s", why);
		medium_set_state(m, MEDIUM_FAILED);
	}
	visibility_update(b, m);
	if (m->purpose == MEDIUM_CLOSE_EJECT && !forced_next)
		answer(b, m, err, why);
	else
		log_debug("%s stays mounted: %s", QUOTE(m->name), why);
	if (!closing_asked(b, m))
		reconcile_put_off(b, m);
}

static void finished_idle(struct broker *b, struct medium *m)
{
	medium_set_state(m, MEDIUM_IDLE);
	visibility_update(b, m);
	log_info("%s unmounted: idle", QUOTE(m->name));
	commands_event(b, m, "idle");
	if (!closing_asked(b, m))
		reconcile_put_off(b, m);
	storage_mount_wanted(b, m);
}

const char *closing_flaw(const struct medium *m)
{
	if (m->claimed)
		return CLAIMED;
	if (m->umount_err != 0 && m->umount_err != -EBUSY)
		return "the device does not answer, and may not have got all that was written";
	if (m->lost || m->unsynced)
		return "some of what was written could not be put on it";
	if (m->umount_err != 0 && !m->driver->has_shutdown)
		return "a program still has files or memory maps of it open";
	return NULL;
}

static const char *ejected_reason(struct medium *m)
{
	const char *why = closing_flaw(m);

	medium_set_reason(m, why ? "ejected, but %s" : "ejected; safe to pull", why);
	return why;
}

/* Out it goes in any case; those who wait are told at once if not all is well with it. */
static void finished_eject(struct broker *b, struct medium *m)
{
	const char *why = ejected_reason(m);

	m->asked = MEDIUM_ASKED_NOTHING;
	medium_set_state(m, MEDIUM_EJECTED);
	if (why)
		commands_eject_done(b, m, -EIO, m->reason);
	visibility_hide(b, m);
}

static void finished_hide(struct broker *b, struct medium *m)
{
	const char *why = closing_flaw(m);

	m->hide_asked = false;
	m->redecide = true;
	answer(b, m, why ? -EIO : 0, why);
	reconcile_conceal(b, m, "the configuration changed");
}

static void finished_exit(struct broker *b, struct medium *m)
{
	medium_set_state(m, MEDIUM_IDLE);
	shutdown_medium_rests(b);
}

/* The next access mounts it again. */
static void finished_died(struct broker *b, struct medium *m)
{
	m->lost |= m->written || m->unsynced; /* until it is mounted again */
	m->written = m->unsynced = false;
	medium_set_state(m, MEDIUM_FAILED);
	visibility_update(b, m);
	commands_event(b, m, "failed");
	if (b->phase == BROKER_ENDING) {
		shutdown_medium_rests(b);
		return;
	}
	if (closing_asked(b, m))
		return;
	server_send(b, m, LINK_OPEN, 0, 0, -EBADF);
	reconcile_put_off(b, m);
	storage_mount_wanted(b, m);
}

static void (*const finished[])(struct broker *, struct medium *) = {
	[MEDIUM_CLOSE_IDLE] = finished_idle,	     [MEDIUM_CLOSE_EJECT] = finished_eject,
	[MEDIUM_CLOSE_EJECT_FORCE] = finished_eject, [MEDIUM_CLOSE_HIDE] = finished_hide,
	[MEDIUM_CLOSE_EXIT] = finished_exit,	     [MEDIUM_CLOSE_DIED] = finished_died,
};

static void start_umount(struct broker *b, struct medium *m, bool force);

/* Neither unmounted nor in use: the device hangs. The next access tries to mount it. */
static void umount_failed(struct broker *b, struct medium *m, const char *why)
{
	medium_set_reason(m, "could not be unmounted: %s",
			  *why ? why : medium_error_text(m->umount_err));
	medium_set_state(m, MEDIUM_FAILED);
	log_warning("%s %s", QUOTE(m->name), m->reason);
	visibility_update(b, m);
	commands_event(b, m, "failed");
	server_send(b, m, LINK_OPEN, 0, 0, -EBADF);
	answer(b, m, m->umount_err, m->reason);
	reconcile_put_off(b, m);
	storage_mount_wanted(b, m);
}

static void umount_forced(const struct staging_result *result, void *data)
{
	struct medium *m = data;

	m->job = NULL;
	if (result->err < 0) {
		m->umount_err = result->err;
		log_warning("%s could not be detached: %s", QUOTE(m->name),
			    *result->reason ? result->reason : medium_error_text(result->err));
	}
	finished[m->purpose](m->broker, m);
}

static void umount_ended(const struct staging_result *result, void *data)
{
	struct medium *m = data;
	struct broker *b = m->broker;

	m->job = NULL;
	m->umount_err = result->err;
	m->root_fd = result->root_fd;
	storage_take_space(m, result);
	if (result->err == 0) {
		finished[m->purpose](b, m);
	} else if (purposes[m->purpose].force) {
		start_umount(b, m, true);
	} else if (m->root_fd >= 0) {
		m->umount_err = 0;
		give_up(b, m, result->err,
			result->err == -EBUSY
				? "a file is still in use, by a memory map for example"
				: medium_error_text(result->err));
	} else {
		umount_failed(b, m, result->reason);
	}
}

static void umount_again(void *data)
{
	struct medium *m = data;

	m->close_timer = loop_timer_remove(m->close_timer);
	start_umount(m->broker, m, false);
}

static bool umount_later(struct broker *b, struct medium *m, int err)
{
	return purposes[m->purpose].force && is_shortage(err) &&
	       loop_timer_add(b->loop, UMOUNT_RETRY_MS, umount_again, m, &m->close_timer) == 0;
}

static void start_umount(struct broker *b, struct medium *m, bool force)
{
	const struct staging_umount what = {.id = m->id,
					    .force = force,
					    .root_fd = m->root_fd,
					    .dev = m->read_only ? NULL : &m->dev};
	int r = staging_umount_start(b->staging, &what, b->config->mount_timeout_ms,
				     force ? umount_forced : umount_ended, m, &m->job);

	if (r == 0) {
		m->root_fd = -EBADF;
		return;
	}
	if (umount_later(b, m, r))
		return;
	if (m->root_fd >= 0 && !purposes[m->purpose].force) {
		give_up(b, m, r, medium_error_text(r));
		return;
	}
	m->umount_err = r;
	if (!purposes[m->purpose].force) {
		umount_failed(b, m, "");
	} else if (!force) {
		start_umount(b, m, true);
	} else {
		m->root_fd = close_fd(m->root_fd);
		finished[m->purpose](b, m);
	}
}

/* What was written is synced on its own first, so that a failure is told. */
void closing_next(struct broker *b, struct medium *m)
{
	bool sync = m->step == MEDIUM_STEP_SYNC && (m->written || m->unsynced) &&
		    m->purpose != MEDIUM_CLOSE_DIED && m->umount_err == 0;

	if (m->job || m->step == MEDIUM_STEP_SERVER)
		return;
	m->step = MEDIUM_STEP_UMOUNT;
	if (sync && storage_sync(b, m) == 0)
		return;
	if (m->state == MEDIUM_CLOSING)
		medium_set_state(m, MEDIUM_UNMOUNTING);
	start_umount(b, m, false);
}

/* A device that does not answer is used by nobody. */
static void claim_tried(int err, void *data)
{
	struct medium *m = data;

	m->claim = NULL;
	m->claimed = err == -EBUSY;
	if (m->claimed && !purposes[m->purpose].force)
		give_up(m->broker, m, err, CLAIMED);
	else
		finished[m->purpose](m->broker, m);
}

static bool claim_helper(struct broker *b, struct medium *m, helper_done_fn done)
{
	const struct claim what = {b->config->dev_dir, m->dev.kname, m->dev.devnum};

	return helper_start(b->loop, claim_try, &what, CLAIM_DEADLINE_MS, done, m, &m->claim) == 0;
}

static void claim_tried_again(int err, void *data)
{
	struct medium *m = data;

	m->claim = NULL;
	m->claimed = err == -EBUSY;
	commands_eject_done(m->broker, m, ejected_reason(m) ? -EIO : 0, m->reason);
}

bool closing_claim_again(struct broker *b, struct medium *m)
{
	return m->claimed && (m->claim || claim_helper(b, m, claim_tried_again));
}

/* Nothing of ours is mounted; who pulls it wants to know whether somebody else's is. */
static bool claim_start(struct broker *b, struct medium *m)
{
	bool eject = m->purpose == MEDIUM_CLOSE_EJECT || m->purpose == MEDIUM_CLOSE_EJECT_FORCE;

	return eject && claim_helper(b, m, claim_tried);
}

/* The server has given it back, or is not waited for any more. Ours goes to who unmounts. */
static void server_done(struct broker *b, struct medium *m)
{
	bool mounted = m->root_fd >= 0 || m->umount_err != 0;

	m->close_timer = loop_timer_remove(m->close_timer);
	m->step = MEDIUM_STEP_SYNC;
	if (mounted)
		closing_next(b, m);
	else if (!claim_start(b, m))
		finished[m->purpose](b, m);
}

static void ask_server(struct broker *b, struct medium *m);

static void ask_again(void *data)
{
	struct medium *m = data;

	ask_server(m->broker, m);
}

/* Whether what is open may be closed already, without the server knowing: it is asked again. */
static bool release_awaited(struct broker *b, struct medium *m)
{
	return m->purpose == MEDIUM_CLOSE_EJECT && now_ms() < m->release_until_ms &&
	       loop_timer_add(b->loop, RELEASE_RETRY_MS, ask_again, m, &m->close_timer) == 0;
}

void closing_closed(struct broker *b, struct medium *m, const struct link_message *message)
{
	bool closing = m->state == MEDIUM_CLOSING || m->state == MEDIUM_EJECTING;
	char why[64];

	if (!closing || m->step != MEDIUM_STEP_SERVER)
		return;
	if (message->err == 0 || purposes[m->purpose].force) {
		server_done(b, m);
		return;
	}
	m->close_timer = loop_timer_remove(m->close_timer);
	m->openers = MAX(m->openers, message->openers);
	if (release_awaited(b, m))
		return;
	(void)snprintf(why, sizeof(why), "%u %s open", m->openers,
		       m->openers == 1 ? "file is" : "files are");
	give_up(b, m, message->err, m->openers > 0 ? why : "it is in use");
}

/*
 * A program that hangs is killed where nobody is told of it otherwise, and where force is used: all
 * that waits for it gets an error.
 */
static bool program_given_up(struct broker *b, struct medium *m)
{
	bool idle = m->purpose == MEDIUM_CLOSE_IDLE;

	if (!m->driver->program || (!idle && !purposes[m->purpose].force))
		return false;
	medium_set_reason(m, "%s did not answer in time and was killed", m->driver->program);
	log_warning("%s: %s", QUOTE(m->name), m->reason);
	if (idle)
		closing_start(b, m, MEDIUM_CLOSE_DIED);
	else
		staging_kill(b->staging, m->id);
	return idle;
}

static void patience_ends(void *data)
{
	struct medium *m = data;

	m->close_timer = loop_timer_remove(m->close_timer);
	if (program_given_up(m->broker, m))
		return;
	if (purposes[m->purpose].force)
		server_done(m->broker, m);
	else
		give_up(m->broker, m, -EBUSY, "requests to the device do not end");
}

static void ask_server(struct broker *b, struct medium *m)
{
	uint64_t patience_ms = purposes[m->purpose].patience_ms;

	if (patience_ms == 0 && m->driver->program)
		patience_ms = b->config->mount_timeout_ms;
	m->step = MEDIUM_STEP_SERVER;
	m->close_timer = loop_timer_remove(m->close_timer);
	if (!supervisor_running(b->server)) {
		server_done(b, m);
		return;
	}
	if (patience_ms > 0)
		(void)loop_timer_add(b->loop, patience_ms, patience_ends, m, &m->close_timer);
	server_send(b, m, LINK_CLOSE, purposes[m->purpose].flags, 0, -EBADF);
}

void closing_start(struct broker *b, struct medium *m, enum medium_purpose purpose)
{
	m->purpose = purpose;
	m->claimed = false;
	m->asked = MEDIUM_ASKED_NOTHING;
	m->sync_timer = loop_timer_remove(m->sync_timer);
	m->release_until_ms = now_ms() + RELEASE_PATIENCE_MS;
	medium_set_state(m, purposes[purpose].state);
	visibility_update(b, m);
	if (purpose == MEDIUM_CLOSE_DIED)
		staging_kill(b->staging, m->id);
	ask_server(b, m);
}

void closing_eject(struct broker *b, struct medium *m, enum medium_asked what)
{
	bool at_server = m->step == MEDIUM_STEP_SERVER;
	bool idle_close = m->state == MEDIUM_CLOSING && at_server;
	bool rests = medium_in_use(m) || m->state == MEDIUM_IDLE || m->state == MEDIUM_FAILED;
	bool force;

	m->asked = MAX(m->asked, what);
	force = m->asked == MEDIUM_ASKED_EJECT_FORCE;
	if (rests || idle_close || (force && at_server && m->state == MEDIUM_EJECTING))
		closing_start(b, m, force ? MEDIUM_CLOSE_EJECT_FORCE : MEDIUM_CLOSE_EJECT);
	/* else it is being mounted or unmounted, and that comes first */
}

bool closing_asked(struct broker *b, struct medium *m)
{
	if (m->asked == MEDIUM_ASKED_NOTHING)
		return false;
	closing_eject(b, m, m->asked);
	return true;
}

void closing_resend(struct broker *b, struct medium *m)
{
	bool asked = m->step == MEDIUM_STEP_SERVER &&
		     (m->state == MEDIUM_CLOSING || m->state == MEDIUM_EJECTING);

	if (!asked)
		return;
	if (m->root_fd >= 0)
		server_send(b, m, LINK_ROOT, 0, 0, m->root_fd);
	ask_server(b, m);
}

void closing_for_exit(struct broker *b, struct medium *m)
{
	bool closing = m->state == MEDIUM_CLOSING || m->state == MEDIUM_EJECTING;

	if (medium_in_use(m) || (closing && m->step == MEDIUM_STEP_SERVER))
		closing_start(b, m, MEDIUM_CLOSE_EXIT);
	else if (medium_is_engaged(m) && m->state != MEDIUM_MOUNTING)
		m->purpose = MEDIUM_CLOSE_EXIT;
	else
		shutdown_medium_rests(b);
}
