#include "context.h"

#include "base/log.h"
#include "daemon/bdi.h"
#include "staging/programs.h"

/* "Copied" must soon mean "written": this long after the last writer closed. */
#define SYNC_DELAY_MS 1000

static void give_root(struct broker *b, struct medium *m)
{
	server_send(b, m, LINK_ROOT, 0, 0, m->root_fd);
}

static void refuse_root(struct broker *b, struct medium *m, int err)
{
	server_send(b, m, LINK_ROOT, 0, err, -EBADF);
}

void storage_take_space(struct medium *m, const struct staging_result *result)
{
	if (result->total_bytes == 0)
		return;
	m->total_bytes = result->total_bytes;
	m->free_bytes = result->free_bytes;
	m->block_size = result->block_size;
}

/* Told once: programs that look again and again would fill the log. */
static void mount_failed(struct broker *b, struct medium *m, int err, const char *reason)
{
	char before[LIMIT_REASON];
	char advice[LIMIT_REASON];
	bool known;

	(void)STR_COPY(before, m->reason);
	if (err == -ENODEV && program_is_missing(m->probe.fstype, advice))
		medium_set_reason(m, "%s, and %s", reason, advice);
	else
		medium_set_reason(m, "%s", *reason ? reason : medium_error_text(err));
	known = m->had_failed && streq(m->reason, before);
	medium_set_state(m, MEDIUM_FAILED);
	m->had_failed = true;
	visibility_update(b, m);
	refuse_root(b, m, err);
	if (known)
		return;
	log_warning("cannot mount %s (%s): %s", QUOTE(m->name), m->dev.kname, m->reason);
	commands_event(b, m, "failed");
}

static void mount_succeeded(struct broker *b, struct medium *m, const struct staging_result *result)
{
	m->root_fd = result->root_fd;
	m->read_only = result->read_only;
	m->written = m->unsynced = m->lost = false;
	m->umount_err = 0; /* it was opened exclusively */
	m->writers = m->openers = 0;
	m->had_failed = false;
	(void)STR_COPY(m->options, result->options);
	medium_set_reason(m, "%s", result->reason);
	storage_take_space(m, result);
	if (!m->read_only)
		bdi_limit(b->sysfs_fd, &m->dev);
	medium_set_state(m, MEDIUM_CLEAN);
	visibility_update(b, m);
	give_root(b, m);
	log_info("%s mounted: %s%s%s%s", QUOTE(m->name), m->driver->kernel_type,
		 m->read_only ? ", read-only" : "", *m->reason ? ": " : "", m->reason);
	commands_event(b, m, "mounted");
}

static void start_mount(struct broker *b, struct medium *m);

/* Whether the kernel may know the filesystem under another name; that is tried now. */
static bool mount_otherwise(struct broker *b, struct medium *m, int err)
{
	const struct driver *other = driver_next(m->driver);

	if (err != -ENODEV || !other || b->phase == BROKER_ENDING)
		return false;
	m->driver = other;
	start_mount(b, m);
	return m->state == MEDIUM_MOUNTING;
}

static void mount_ended(const struct staging_result *result, void *data)
{
	struct medium *m = data;
	struct broker *b = m->broker;
	const struct driver *first;

	m->job = NULL;
	if (mount_otherwise(b, m, result->err))
		return;
	if (result->err < 0) {
		first = driver_here(m->probe.fstype, NULL);
		m->driver = first ? first : m->driver;
		mount_failed(b, m, result->err, result->reason);
	} else {
		mount_succeeded(b, m, result);
	}
	if (b->phase == BROKER_ENDING)
		closing_for_exit(b, m);
	else if (!closing_asked(b, m))
		reconcile_put_off(b, m);
}

static int prepare_options(struct medium *m)
{
	char error[80] = "";
	int r = driver_options(m->driver, m->decision.options, &m->decision.owner, m->options,
			       error, sizeof(error));

	if (r == -EINVAL)
		medium_set_reason(m, "mount option %s is not allowed for %s", error,
				  m->probe.fstype);
	else if (r < 0)
		medium_set_reason(m, "the mount options are too long");
	return r;
}

static void start_mount(struct broker *b, struct medium *m)
{
	struct staging_mount what = {
		.id = m->id,
		.dev = &m->dev,
		.driver = m->driver,
		.options = m->options,
		.read_only = m->decision.read_only,
	};
	char reason[LIMIT_REASON];
	int r = prepare_options(m);

	m->wanted = false;
	if (r < 0) {
		(void)STR_COPY(reason, m->reason);
		mount_failed(b, m, r, reason);
		return;
	}
	r = staging_mount_start(b->staging, &what, b->config->mount_timeout_ms, mount_ended, m,
				&m->job);
	if (r < 0) {
		mount_failed(b, m, r, medium_error_text(r));
		return;
	}
	medium_set_state(m, MEDIUM_MOUNTING);
	visibility_update(b, m);
}

void storage_mount_wanted(struct broker *b, struct medium *m)
{
	bool can = m->state == MEDIUM_IDLE || m->state == MEDIUM_FAILED;

	if (m->wanted && can && m->probing == MEDIUM_PROBE_NONE)
		start_mount(b, m);
}

void storage_want_mount(struct broker *b, struct medium *m)
{
	bool mounted = medium_in_use(m) || m->state == MEDIUM_MOUNTING;

	if (b->phase == BROKER_ENDING && !mounted) {
		refuse_root(b, m, -ENODEV);
		return;
	}
	switch (m->state) {
	case MEDIUM_IDLE:
	case MEDIUM_FAILED:
	case MEDIUM_CLOSING:
	case MEDIUM_UNMOUNTING:
		m->wanted = true; /* what runs now comes first */
		storage_mount_wanted(b, m);
		return;
	case MEDIUM_MOUNTING:
		m->wanted = m->seeking;
		return;
	case MEDIUM_CLEAN:
	case MEDIUM_BUSY:
	case MEDIUM_DIRTY:
		give_root(b, m);
		return;
	case MEDIUM_NEW:
	case MEDIUM_HIDDEN:
	case MEDIUM_EJECTING:
	case MEDIUM_EJECTED:
	case MEDIUM_REMOVED:
	case MEDIUM_STATE_COUNT:
		refuse_root(b, m, -ENODEV);
		return;
	}
}

/*
 * err -ENOENT: nothing is; else it is not known. What could not be unmounted may be without a mount
 * point by now, and live on.
 */
static void not_found(struct broker *b, struct medium *m, int err)
{
	if (err != -ENOENT)
		m->umount_err = err;
	medium_set_state(m, MEDIUM_FAILED);
	if (m->umount_err == 0) {
		medium_set_state(m, MEDIUM_IDLE);
	} else {
		medium_set_reason(m, "may still be mounted: %s", medium_error_text(m->umount_err));
		log_warning("%s %s", QUOTE(m->name), m->reason);
	}
	visibility_update(b, m);
}

/* What was asked for while it was looked for. */
static void go_on_found(struct broker *b, struct medium *m)
{
	if (b->phase == BROKER_ENDING) {
		closing_for_exit(b, m);
	} else if (!closing_asked(b, m)) {
		reconcile_put_off(b, m);
		storage_mount_wanted(b, m);
	}
}

/* What was written before may not have been synced. */
static void found(const struct staging_result *result, void *data)
{
	struct medium *m = data;
	struct broker *b = m->broker;

	m->job = NULL;
	m->seeking = false;
	if (result->err < 0) {
		log_debug("%s is not found: %s", m->dev.kname, errno_name(-result->err));
		not_found(b, m, result->err);
	} else {
		m->wanted = false;
		m->root_fd = result->root_fd;
		m->umount_err = 0;
		m->read_only = result->read_only;
		m->written = !m->read_only;
		storage_take_space(m, result);
		log_debug("%s is still mounted", m->dev.kname);
		medium_set_state(m, medium_mounted_state(m));
		give_root(b, m);
		storage_settle(b, m);
		visibility_update(b, m);
	}
	go_on_found(b, m);
}

void storage_find(struct broker *b, struct medium *m)
{
	int r = staging_find_start(b->staging, m->id, m->driver->program,
				   b->config->mount_timeout_ms, found, m, &m->job);

	m->seeking = r == 0;
	if (r < 0) {
		not_found(b, m, r);
		go_on_found(b, m);
	}
}

static void sync_due(void *data)
{
	struct medium *m = data;

	m->sync_timer = loop_timer_remove(m->sync_timer);
	if (m->state == MEDIUM_DIRTY && !m->job && is_shortage(storage_sync(m->broker, m)))
		storage_settle(m->broker, m); /* which has it tried again */
}

void storage_settle(struct broker *b, struct medium *m)
{
	enum medium_state before = m->state;

	medium_set_state(m, medium_mounted_state(m));
	if (m->state != MEDIUM_DIRTY)
		m->sync_timer = loop_timer_remove(m->sync_timer);
	else if (b->config->durability != DURABILITY_LAZY && m->written && !m->sync_timer)
		(void)loop_timer_add(b->loop, SYNC_DELAY_MS, sync_due, m, &m->sync_timer);
	if (m->state != before)
		visibility_update_soon(b, m);
}

static void sync_ended(const struct staging_result *result, void *data)
{
	struct medium *m = data;
	struct broker *b = m->broker;

	m->job = NULL;
	storage_take_space(m, result);
	if (result->err < 0) {
		medium_set_reason(m, "could not be written: %s", medium_error_text(result->err));
		log_err("%s: written data could not be put on the disk: %s", QUOTE(m->name),
			medium_error_text(result->err));
		if (result->err != -ETIMEDOUT) /* the kernel does not try those pages again */
			m->lost = true;
	} else {
		m->unsynced = false;
	}
	if (medium_in_use(m))
		storage_settle(b, m);
	else
		closing_next(b, m);
}

int storage_sync(struct broker *b, struct medium *m)
{
	int r = staging_sync_start(b->staging, m->id, b->config->mount_timeout_ms, sync_ended, m,
				   &m->job);

	if (r < 0)
		return r;
	m->written = false;
	m->unsynced = true;
	return 0;
}

void storage_use(struct broker *b, struct medium *m, const struct link_message *message)
{
	m->writers = message->writers;
	m->openers = message->openers;
	if (message->flags & LINK_USE_WRITTEN && !m->read_only) /* else it was refused */
		m->written = true;
	if (medium_in_use(m))
		storage_settle(b, m);
}

void storage_driver_died(uint32_t id, const char *fate, void *data)
{
	struct broker *b = data;
	struct medium *m = registry_find(&b->registry, id);

	if (!m || !medium_in_use(m))
		return; /* what is going on with it tells the rest */
	medium_set_reason(m, "%s", fate);
	log_warning("%s: %s, what was not yet written is lost", QUOTE(m->name), fate);
	closing_start(b, m, MEDIUM_CLOSE_DIED);
}

/* What was open is told anew; what was written before the server died may not be synced. */
void storage_resend(struct broker *b, struct medium *m)
{
	if (!medium_in_use(m)) {
		closing_resend(b, m);
		return;
	}
	m->writers = m->openers = 0;
	m->written = true;
	give_root(b, m);
	storage_settle(b, m);
}
