#include "context.h"

#include <limits.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/helper.h"
#include "device/drive.h"

#define HELPER_DEADLINE_MS 60000
/* Where the kernel cannot be told to ask the drive, we make it do so. */
#define LOOK_MS 1000
/* No process to find a drive again: half a minute. */
#define RENEW_AGAIN_MS 1000
#define RENEW_TRIES    30

enum drive_state {
	DRIVE_ASKED,   /* the kernel asks it */
	DRIVE_LOOKED,  /* we do */
	DRIVE_LEAVING, /* it is not asked any more */
	DRIVE_CUT_OFF, /* its medium was taken out while it was mounted */
};

struct drive {
	struct broker *broker;
	struct list link;
	enum drive_state state;
	char kname[LIMIT_KNAME];
	uint64_t inode;		     /* of the device: another one may have the same name */
	char path[LIMIT_KNAME + 24]; /* in sysfs */
	char node[PATH_MAX];	     /* in the directory of devices */
	char address[sizeof(((struct blockdev *)NULL)->drive)];
	struct helper *helper; /* at most one */
	struct loop_timer *timer;
	unsigned tries; /* to have it found again */
};

static struct drive *find(struct broker *b, const char *kname)
{
	list_for_each (at, &b->drives) {
		struct drive *d = CONTAINER_OF(at, struct drive, link);

		if (streq(d->kname, kname))
			return d;
	}
	return NULL;
}

/* What it is left as does not depend on us: a child that is at that may end it. */
static void drive_free(struct drive *d)
{
	bool finish = d->state == DRIVE_LEAVING || d->state == DRIVE_CUT_OFF;

	list_remove(&d->link);
	d->helper = finish ? helper_leave(d->helper) : helper_cancel(d->helper);
	loop_timer_remove(d->timer);
	free(d);
}

/* ---- in a child; what: the drive ---- */

static int do_ask(const void *what)
{
	const struct drive *d = what;

	return drive_ask(d->path);
}

static int do_ask_no_more(const void *what)
{
	const struct drive *d = what;

	return drive_ask_no_more(d->path);
}

static int do_look(const void *what)
{
	const struct drive *d = what;

	return drive_look(d->node);
}

static int do_renew(const void *what)
{
	const struct drive *d = what;

	return drive_renew(d->address);
}

/* ---- the loop's ---- */

static int child_start(struct drive *d, int (*fn)(const void *what), helper_done_fn done)
{
	return helper_start(d->broker->loop, fn, d, HELPER_DEADLINE_MS, done, d, &d->helper);
}

static void look(void *data);

static void look_later(struct drive *d)
{
	d->timer = loop_timer_remove(d->timer);
	(void)loop_timer_add(d->broker->loop, LOOK_MS, look, d, &d->timer);
}

/* What came of it the kernel tells by an event. */
static void looked(int err, void *data)
{
	struct drive *d = data;

	(void)err;
	d->helper = NULL;
	look_later(d);
}

static void look(void *data)
{
	struct drive *d = data;

	d->timer = loop_timer_remove(d->timer);
	if (child_start(d, do_look, looked) < 0)
		look_later(d);
}

static bool is_gone(int err)
{
	return err == -ENOENT || err == -ENODEV;
}

/* If it is gone, the next one of this name is to be asked. */
static void asked(int err, void *data)
{
	struct drive *d = data;

	d->helper = NULL;
	if (is_gone(err))
		drive_free(d);
	if (err == 0 || is_gone(err))
		return;
	log_info("%s: the kernel cannot be told to watch for another medium: %s; looking myself",
		 d->kname, strerror(-err));
	d->state = DRIVE_LOOKED;
	look_later(d);
}

static struct drive *drive_new(struct broker *b, const struct blockdev *dev)
{
	struct drive *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->broker = b;
	(void)STR_COPY(d->kname, dev->disk);
	(void)STR_COPY(d->address, dev->drive);
	d->inode = dev->inode;
	(void)snprintf(d->path, sizeof(d->path), "/sys/class/block/%s", dev->disk);
	(void)snprintf(d->node, sizeof(d->node), "%s/%s", b->config->dev_dir, dev->disk);
	list_append(&b->drives, &d->link);
	return d;
}

static bool is_same(const struct drive *d, const struct blockdev *dev)
{
	return streq(d->address, dev->drive) && d->inode == dev->inode;
}

void drives_watch(struct broker *b, const struct blockdev *dev)
{
	struct drive *d = find(b, dev->disk);
	int r;

	if (d && d->state == DRIVE_CUT_OFF)
		return;
	if (d && d->state != DRIVE_LEAVING && is_same(d, dev))
		return;
	if (d) {
		d->helper = helper_cancel(d->helper);
		drive_free(d);
	}
	d = drive_new(b, dev);
	r = d ? child_start(d, do_ask, asked) : -ENOMEM;
	if (r < 0)
		log_warning("%s: cannot watch for another medium: %s", dev->disk, strerror(-r));
	if (d && r < 0)
		drive_free(d);
}

void drives_forget(struct broker *b, const char *kname)
{
	struct drive *d = find(b, kname);

	if (d && d->state != DRIVE_CUT_OFF)
		drive_free(d);
}

static void unasked(int err, void *data)
{
	struct drive *d = data;

	(void)err;
	d->helper = NULL;
	drive_free(d);
}

void drives_unwatch(struct broker *b, const char *kname)
{
	struct drive *d = find(b, kname);

	if (!d || d->state == DRIVE_CUT_OFF || d->state == DRIVE_LEAVING)
		return;
	d->helper = helper_cancel(d->helper);
	d->timer = loop_timer_remove(d->timer);
	d->state = DRIVE_LEAVING;
	if (child_start(d, do_ask_no_more, unasked) < 0)
		drive_free(d);
}

void drives_unwatch_all(struct broker *b)
{
	list_for_each_safe (at, next, &b->drives)
		drives_unwatch(b, CONTAINER_OF(at, struct drive, link)->kname);
}

bool drives_busy(const struct broker *b)
{
	list_for_each (at, &b->drives) {
		const struct drive *d = CONTAINER_OF(at, struct drive, link);

		if (d->state == DRIVE_CUT_OFF || d->state == DRIVE_LEAVING)
			return true;
	}
	return false;
}

void drives_free(struct broker *b)
{
	while (!list_empty(&b->drives))
		drive_free(CONTAINER_OF(b->drives.next, struct drive, link));
}

/* Its events have told of the drive that it is now; this is for what they came too early for. */
static void renewed(int err, void *data)
{
	struct drive *d = data;
	struct broker *b = d->broker;
	char kname[LIMIT_KNAME];

	d->helper = NULL;
	(void)STR_COPY(kname, d->kname);
	if (err < 0 && !is_gone(err))
		log_err("%s: the drive is cut off, and cannot be found again: %s; plug it in anew",
			kname, strerror(-err));
	drive_free(d);
	if (b->phase != BROKER_ENDING)
		reconcile_device(b, kname, RECONCILE_EVENT);
}

static void renew_later(struct drive *d, int err);

static void renew_again(void *data)
{
	struct drive *d = data;
	int r;

	d->timer = loop_timer_remove(d->timer);
	r = child_start(d, do_renew, renewed);
	if (r < 0 && d->tries == RENEW_TRIES)
		renewed(r, d);
	else if (r < 0)
		renew_later(d, r);
}

/*
 * Whoever has the drive cut off is not done with its media: renewed() must not look at them within
 * that, or it would find them in use, and have the drive cut off once more.
 */
static void renew_later(struct drive *d, int err)
{
	if (d->tries++ == 0)
		log_warning("%s: the drive cannot be looked for yet: %s, trying again", d->kname,
			    strerror(-err));
	(void)loop_timer_add(d->broker->loop, RENEW_AGAIN_MS, renew_again, d, &d->timer);
}

static void renew(struct broker *b, const struct blockdev *dev)
{
	struct drive *d = find(b, dev->disk);
	int r;

	if (!d)
		d = drive_new(b, dev);
	if (!d)
		log_err("%s: out of memory; plug it in anew", dev->disk);
	if (!d || d->state == DRIVE_CUT_OFF)
		return;
	d->state = DRIVE_CUT_OFF;
	d->helper = helper_cancel(d->helper);
	d->timer = loop_timer_remove(d->timer);
	(void)STR_COPY(d->address, dev->drive);
	r = child_start(d, do_renew, renewed);
	if (r < 0)
		renew_later(d, r);
}

void drives_cut_off(struct broker *b, const struct blockdev *dev)
{
	int r;

	if (dev->drive[0] == '\0')
		return;
	r = drive_cut_off(b->sysfs_fd, dev->drive);
	if (r == 0) {
		log_notice("%s: its medium was taken out while in use; the drive is cut off",
			   dev->disk);
		renew(b, dev);
	} else if (!is_gone(r)) {
		log_err("%s: its medium was taken out while in use, and the drive cannot be cut "
			"off (%s): another medium may be damaged",
			dev->disk, strerror(-r));
	}
}
