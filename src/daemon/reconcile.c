#include "context.h"

#include "base/log.h"
#include "staging/programs.h"

/* Mounts of the host come and go; a storm of events need not read them for each device. */
#define SYSDISK_FRESH_MS 1000
/* What udevd has not dealt with after this time it will not. */
#define UDEV_PATIENCE_MS 3000
/* Doubled with each try, up to eight times. */
#define LOOK_AGAIN_MS 1000u

static void look_later(struct broker *b, int err);

static void refresh_sysdisk(struct broker *b)
{
	int r;

	if (b->sysdisk_ms != 0 && now_ms() - b->sysdisk_ms < SYSDISK_FRESH_MS)
		return;
	r = sysdisk_read(&b->sysdisk, b->proc_fd, b->sysfs_fd, b->dev_fd);
	if (r < 0)
		log_debug("cannot read the host's mounts: %s, ignoring", strerror(-r));
	b->sysdisk_known |= !is_shortage(r);
	b->sysdisk_ms = is_shortage(r) ? 0 : now_ms();
	look_later(b, r);
}

bool reconcile_is_hosts(struct broker *b, const struct blockdev *dev)
{
	refresh_sysdisk(b);
	return !b->sysdisk_known || sysdisk_has(&b->sysdisk, dev->disk_devnum);
}

static struct policy_input facts(struct broker *b, struct medium *m, enum udev_knowledge udev)
{
	return (struct policy_input){
		.config = b->config,
		.dev = &m->dev,
		.probe = m->probed ? &m->probe : NULL,
		.system_disk = reconcile_is_hosts(b, &m->dev),
		.udisks_ignore = udev == UDEV_IGNORED,
	};
}

void reconcile_conceal(struct broker *b, struct medium *m, const char *reason)
{
	if (m->state != MEDIUM_HIDDEN || !streq(m->reason, reason))
		log_debug("%s is not shown: %s", m->dev.kname, reason);
	medium_set_reason(m, "%s", reason);
	medium_set_state(m, MEDIUM_HIDDEN);
	if (m->view != MEDIUM_ABSENT)
		visibility_hide(b, m);
}

/* How it would be mounted, until it is. */
static void preview(struct medium *m)
{
	char error[64];

	m->read_only = m->decision.read_only || m->dev.read_only || m->driver->read_only;
	if (driver_options(m->driver, m->decision.options, &m->decision.owner, m->options, error,
			   sizeof(error)) < 0)
		(void)STR_COPY(m->options, m->decision.options);
}

/*
 * A driver program that ends looks like somebody who has written to the device (inotify): that is
 * no reason to forget why it ended. What could not be unmounted is not idle, whatever happens.
 */
static bool failure_stays(const struct medium *m)
{
	bool program = m->driver->program && m->view == MEDIUM_VISIBLE;

	return m->umount_err != 0 || (m->state == MEDIUM_FAILED && program);
}

static void show(struct broker *b, struct medium *m)
{
	preview(m);
	if (failure_stays(m)) {
		if (m->view == MEDIUM_ABSENT) /* the reason was why it was not shown */
			medium_set_reason(m, "could not be unmounted: %s",
					  medium_error_text(m->umount_err));
		medium_set_state(m, MEDIUM_FAILED);
	} else {
		m->reason[0] = '\0';
		m->had_failed = false;
		medium_set_state(m, MEDIUM_IDLE);
	}
	if (m->view == MEDIUM_ABSENT)
		visibility_show(b, m);
	else
		visibility_update(b, m);
}

/* Another name is another directory: the old one goes first. */
static void show_under(struct broker *b, struct medium *m, const char *base)
{
	bool named = m->view != MEDIUM_ABSENT && m->view != MEDIUM_WAITING;

	if (m->view == MEDIUM_VANISHING || (named && !streq(base, m->base))) {
		m->redecide = true;
		if (m->view != MEDIUM_VANISHING)
			reconcile_conceal(b, m, "its name changes");
		return;
	}
	(void)STR_COPY(m->base, base);
	show(b, m);
}

static void decide(struct broker *b, struct medium *m)
{
	struct policy_input in = facts(b, m, udev_source_ask(b->udev, m->dev.devnum));
	const struct driver *driver;
	char reason[LIMIT_REASON];
	char base[LIMIT_NAME + 1];

	policy_decide(&in, &m->decision);
	if (!m->decision.shown) {
		reconcile_conceal(b, m, m->decision.reason);
		return;
	}
	driver = driver_here(m->probe.fstype, reason);
	if (!driver) {
		/* m->driver stays: it is needed until the name is gone */
		reconcile_conceal(b, m, reason);
		return;
	}
	m->driver = driver;
	name_base(m->decision.wanted_name, m->probe.label, m->probe.uuid, m->dev.kname, base);
	show_under(b, m, base);
}

/*
 * Of a medium that is in use only this is decided at once: whether it has to go. While it is being
 * mounted or unmounted, that comes first.
 */
static void decide_engaged(struct broker *b, struct medium *m)
{
	bool idle_close = m->state == MEDIUM_CLOSING && m->step == MEDIUM_STEP_SERVER;
	struct policy_input in = facts(b, m, udev_source_ask(b->udev, m->dev.devnum));
	struct policy_decision decision;

	m->redecide = true;
	if (!m->probed)
		return;
	/* its own mount does not make it the host's */
	policy_decide(&in, &decision);
	m->hide_asked = !decision.shown;
	if (m->hide_asked && (medium_in_use(m) || idle_close))
		closing_start(b, m, MEDIUM_CLOSE_HIDE);
}

static void consider(struct broker *b, struct medium *m, enum reconcile_mode mode);

static void udev_patience_ends(void *data)
{
	struct medium *m = data;

	m->udev_timer = loop_timer_remove(m->udev_timer);
	m->udev_waited = true;
	consider(m->broker, m, RECONCILE_EVENT);
}

/* udevd's rules may say that the device is to be ignored: its event follows the kernel's. */
static bool wait_for_udev(struct broker *b, struct medium *m, enum udev_knowledge udev)
{
	if (udev != UDEV_UNKNOWN || m->udev_waited)
		return false;
	if (!m->udev_timer &&
	    loop_timer_add(b->loop, UDEV_PATIENCE_MS, udev_patience_ends, m, &m->udev_timer) < 0)
		return false;
	medium_set_reason(m, "waiting for udevd");
	return true;
}

static void consider_drive(struct broker *b, struct medium *m, const struct policy_input *in)
{
	if (m->dev.drive[0] == '\0' || m->dev.partno != 0)
		return;
	if (policy_wants_asking(in))
		drives_watch(b, &m->dev);
	else
		drives_unwatch(b, m->dev.kname);
}

/*
 * The kernel reads the partitions of a new medium, and goes on to tell of exchanges, only when
 * somebody opens the drive.
 */
static void look_at_drive(struct broker *b, struct medium *m)
{
	bool drive = m->dev.drive[0] != '\0' && m->dev.partno == 0;

	if (drive && !m->looked_at && !m->probed)
		probing_request(b, m);
	m->looked_at = true;
}

/* Whether what the last probe saw was to be shown: else something new may be on it by now. */
static bool is_known_well(const struct medium *m)
{
	return m->probed && m->decision.shown && m->driver;
}

static void consider(struct broker *b, struct medium *m, enum reconcile_mode mode)
{
	enum udev_knowledge udev = udev_source_ask(b->udev, m->dev.devnum);
	struct policy_input in = facts(b, m, udev);
	char reason[LIMIT_REASON] = "";

	consider_drive(b, m, &in);

	if (m->state == MEDIUM_EJECTED)
		return;
	if (medium_is_engaged(m)) {
		m->redecide = true;
		if (mode == RECONCILE_RELOAD)
			decide_engaged(b, m);
		return;
	}
	if (!policy_wants_probe(&in, reason, sizeof(reason))) {
		reconcile_conceal(b, m, reason);
		if (policy_wants_asking(&in))
			look_at_drive(b, m);
		return;
	}
	if (wait_for_udev(b, m, udev))
		return;
	if (mode == RECONCILE_RELOAD && is_known_well(m))
		decide(b, m);
	else
		probing_request(b, m);
}

static struct medium *add(struct broker *b, const struct blockdev *dev)
{
	struct medium *m;
	int r = registry_add(&b->registry, dev, &m);

	if (r < 0) {
		log_warning("cannot take in %s: %s", dev->kname, strerror(-r));
		return NULL;
	}
	m->broker = b;
	log_debug("%s: new, %llu bytes, %s", dev->kname, (unsigned long long)dev->size_bytes,
		  blockdev_bus_name(dev->bus));
	return m;
}

/*
 * The drive is still there, and has another medium or none. Partitions of the old one are gone,
 * though their devices stay for as long as somebody has them open, and tell nothing.
 */
static void exchanged(struct broker *b, struct medium *first)
{
	registry_for_each (m, &b->registry) {
		bool part = m->state != MEDIUM_REMOVED && m->dev.partno != 0;

		if (m != first && (!part || !streq(m->dev.disk, first->dev.disk)))
			continue;
		removal_cut_off(b, m);
		removal_start(b, m);
	}
}

static void gone(struct broker *b, struct medium *m)
{
	if (m->dev.partno == 0)
		drives_forget(b, m->dev.kname);
	removal_start(b, m);
}

/* What is known may be of a medium that is removed: its device may still be there. */
static int read_device(struct broker *b, const char *kname, struct blockdev *ret_dev)
{
	registry_for_each (m, &b->registry)
		if (streq(m->dev.kname, kname))
			return blockdev_read_again(b->sysfs_fd, &m->dev, ret_dev);
	return blockdev_read(b->sysfs_fd, kname, ret_dev);
}

/*
 * Brings the medium up to date with what was read; dev is NULL when the device is gone. Returns the
 * device's medium, or NULL.
 */
static struct medium *update(struct broker *b, const char *kname, const struct blockdev *dev)
{
	struct medium *m = registry_find_device(&b->registry, kname);

	if (m && !dev) {
		gone(b, m);
		m = NULL;
	} else if (m && !medium_same_device(&m->dev, dev)) {
		exchanged(b, m);
		m = NULL;
	}
	if (!dev)
		return NULL;
	if (!m)
		return add(b, dev);
	m->dev = *dev;
	return m;
}

static void look_again(void *data)
{
	struct broker *b = data;

	b->look_timer = loop_timer_remove(b->look_timer);
	if (b->phase == BROKER_ENDING)
		return;
	reconcile_all(b, RECONCILE_EVENT);
	if (!b->look_timer)
		b->look_tries = 0;
}

/* That nothing could be read says nothing of a device: what is known of it stays. */
static void look_later(struct broker *b, int err)
{
	if (!is_shortage(err) || b->look_timer)
		return;
	if (b->look_tries == 0)
		log_warning("cannot look at the block devices: %s, trying again", strerror(-err));
	(void)loop_timer_add(b->loop, LOOK_AGAIN_MS << MIN(b->look_tries, 3u), look_again, b,
			     &b->look_timer);
	b->look_tries++;
}

/* A disk is shown or not depending on whether it has partitions. */
static void reconcile_disk_of(struct broker *b, const char *kname, const char *disk)
{
	struct medium *m;

	if (streq(disk, kname) || disk[0] == '\0')
		return;
	m = registry_find_device(&b->registry, disk);
	if (m && !medium_is_engaged(m))
		reconcile_device(b, disk, RECONCILE_EVENT);
}

/* Partitions that went with their drive's medium, and have devices: of the new one, or stale. */
static void reconcile_partitions_of(struct broker *b, const char *disk)
{
	registry_for_each (m, &b->registry) {
		char kname[LIMIT_KNAME];

		(void)STR_COPY(kname, m->dev.kname);
		if (m->state == MEDIUM_REMOVED && m->dev.partno != 0 && streq(m->dev.disk, disk) &&
		    !registry_find_device(&b->registry, kname))
			reconcile_device(b, kname, RECONCILE_EVENT);
	}
}

void reconcile_device(struct broker *b, const char *kname, enum reconcile_mode mode)
{
	struct medium *m = registry_find_device(&b->registry, kname);
	struct medium *before = m;
	char disk[LIMIT_KNAME] = "";
	struct blockdev dev;
	bool known = m;
	int r = read_device(b, kname, &dev);

	if (r < 0 && r != -ENODEV) {
		log_debug("%s: cannot be looked at: %s", kname, strerror(-r));
		look_later(b, r);
		return;
	}
	if (m)
		(void)STR_COPY(disk, m->dev.disk);
	m = update(b, kname, r == 0 ? &dev : NULL);
	if (m) {
		(void)STR_COPY(disk, m->dev.disk);
		consider(b, m, mode);
	}
	if (before && m && m != before && m->dev.partno == 0)
		reconcile_partitions_of(b, kname);
	if (known != (m != NULL))
		reconcile_disk_of(b, kname, disk);
}

struct rescan {
	struct broker *broker;
	enum reconcile_mode mode;
};

static int rescan_device(const char *kname, void *data)
{
	struct rescan *rescan = data;

	reconcile_device(rescan->broker, kname, rescan->mode);
	return 0;
}

void reconcile_all(struct broker *b, enum reconcile_mode mode)
{
	struct rescan rescan = {b, mode};
	int r;

	registry_for_each (m, &b->registry) {
		struct blockdev dev;

		if (m->state != MEDIUM_REMOVED &&
		    blockdev_read_again(b->sysfs_fd, &m->dev, &dev) == -ENODEV)
			gone(b, m);
	}
	r = blockdev_each(b->sysfs_fd, rescan_device, &rescan);
	if (r < 0 && !is_shortage(r))
		log_err("cannot list the block devices in sysfs: %s", strerror(-r));
	look_later(b, r);
}

void reconcile_put_off(struct broker *b, struct medium *m)
{
	if (m->hide_asked && medium_in_use(m))
		decide_engaged(b, m);
	if (!m->redecide || medium_is_engaged(m) || m->state == MEDIUM_REMOVED)
		return;
	m->redecide = false;
	consider(b, m, m->view == MEDIUM_ABSENT ? RECONCILE_RELOAD : RECONCILE_EVENT);
}

/* The probe's open has made the kernel look at the medium: what sysfs says may be new. */
static bool changed_by_open(struct broker *b, struct medium *m)
{
	struct blockdev dev;

	if (m->dev.drive[0] == '\0' || blockdev_read_again(b->sysfs_fd, &m->dev, &dev) < 0)
		return false;
	if (!medium_same_device(&m->dev, &dev))
		return true;
	m->dev = dev;
	return false;
}

static void take_result(struct medium *m, const struct probe_result *result)
{
	m->probe = *result;
	m->probed = true;
	/* an upper bound does not replace what a mount has told */
	if (result->fs_total_bytes > 0 && (result->fs_block_size > 0 || m->total_bytes == 0)) {
		m->total_bytes = result->fs_total_bytes;
		m->free_bytes = result->fs_free_bytes;
		m->block_size = result->fs_block_size;
	}
}

void reconcile_probed(struct broker *b, struct medium *m, const struct probe_result *result)
{
	bool kept = m->probed && probe_failed_here(result);
	char kname[LIMIT_KNAME];

	if (changed_by_open(b, m)) {
		(void)STR_COPY(kname, m->dev.kname);
		reconcile_device(b, kname, RECONCILE_EVENT);
		return;
	}
	if (m->state == MEDIUM_EJECTED)
		return;
	if (medium_is_engaged(m)) {
		m->redecide = true;
		return;
	}
	if (!kept && m->probed && m->view != MEDIUM_ABSENT &&
	    !medium_same_content(&m->probe, result)) {
		(void)STR_COPY(kname, m->dev.kname);
		removal_start(b, m);
		reconcile_device(b, kname, RECONCILE_EVENT);
		return;
	}
	if (!kept)
		take_result(m, result);
	decide(b, m);
	if (m->state == MEDIUM_HIDDEN)
		written_watch(b, m);
	storage_mount_wanted(b, m);
	broker_check_ready(b);
}
