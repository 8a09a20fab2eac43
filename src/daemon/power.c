#include "context.h"

#include <stdio.h>

#include "base/log.h"
#include "daemon/helper.h"
#include "device/power.h"

#define DEADLINE_MS 60000

/* A piece of hardware that somebody wants switched off. */
struct power {
	struct broker *broker;
	struct list link;
	uint32_t id; /* that clients wait for */
	struct power_off what;
	char name[LIMIT_NAME + 1]; /* the disk that was asked for */
	enum medium_asked asked;
	bool ejecting; /* some of its disks, just now: what comes of it is looked at afterwards */
	int err;       /* one of them could not be; */
	char why[2 * LIMIT_REASON];
	struct helper *helper; /* all are out: it is being switched off */
};

static bool has(const struct power *p, const struct medium *m)
{
	return m->state != MEDIUM_REMOVED &&
	       power_unit_has(p->broker->sysfs_fd, &p->what.unit, m->dev.kname);
}

/* Nobody knows it by a name, and nothing of it is mounted by us. */
static bool is_out(const struct medium *m)
{
	bool untouched = m->state == MEDIUM_NEW || m->state == MEDIUM_HIDDEN;

	return untouched || (m->state == MEDIUM_EJECTED && m->view == MEDIUM_ABSENT);
}

static void power_free(struct power *p)
{
	list_remove(&p->link);
	helper_cancel(p->helper);
	free(p);
}

static void finish(struct power *p, int err, const char *text)
{
	commands_power_done(p->broker, p->id, err, text);
	power_free(p);
}

static void switched_off(int err, void *data)
{
	struct power *p = data;
	char text[LIMIT_REASON];

	p->helper = NULL;
	if (err == 0)
		log_info("%s switched off: %s", QUOTE(p->name), p->what.unit.dir);
	(void)snprintf(text, sizeof(text), "ejected, but not switched off: %s",
		       err == -EBUSY ? "a disk of the same device is in use by somebody else"
				     : medium_error_text(err));
	finish(p, err, text);
}

/* Also those that have come since. */
static void eject_all(struct power *p)
{
	p->ejecting = true;
	registry_for_each (m, &p->broker->registry) {
		if (m->power_id == p->id || !has(p, m) || is_out(m))
			continue;
		m->power_id = p->id;
		closing_eject(p->broker, m, p->asked);
	}
	p->ejecting = false;
}

static bool all_out(const struct power *p)
{
	registry_for_each (m, &p->broker->registry)
		if (has(p, m) && !is_out(m))
			return false;
	return true;
}

static void go_on(struct power *p)
{
	int r;

	if (p->helper || p->ejecting)
		return;
	eject_all(p);
	if (p->err < 0) {
		finish(p, p->err, p->why);
		return;
	}
	if (!all_out(p))
		return;
	p->what.dev_dir = p->broker->config->dev_dir;
	r = helper_start(p->broker->loop, power_off, &p->what, DEADLINE_MS, switched_off, p,
			 &p->helper);
	if (r < 0)
		switched_off(r, p);
}

static struct power *find(const struct broker *b, const struct power_unit *unit)
{
	list_for_each (at, &b->powers) {
		struct power *p = CONTAINER_OF(at, struct power, link);

		if (streq(p->what.unit.dir, unit->dir))
			return p;
	}
	return NULL;
}

static struct power *power_new(struct broker *b, const struct medium *m,
			       const struct power_unit *unit)
{
	struct power *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->broker = b;
	p->id = ++b->power_last;
	p->what.unit = *unit;
	(void)STR_COPY(p->name, m->base);
	list_append(&b->powers, &p->link);
	return p;
}

/* What is known before anything is ejected. */
static int check(struct broker *b, const struct medium *medium, struct power_unit *ret_unit,
		 char *why, size_t size)
{
	int r = power_unit_find(b->sysfs_fd, medium->dev.kname, ret_unit);

	if (r == -EOPNOTSUPP)
		(void)snprintf(why, size, "%s has no switch, eject it without --power-off",
			       medium->dev.disk);
	else if (r == -EROFS || r == -EACCES)
		(void)snprintf(why, size, "/sys/%s/%s cannot be written: %s", ret_unit->dir,
			       ret_unit->attribute, strerror(-r));
	else if (r < 0)
		(void)snprintf(why, size, "%s: %s", medium->dev.kname, strerror(-r));
	if (r < 0)
		return r;
	registry_for_each (m, &b->registry) {
		if (!power_unit_has(b->sysfs_fd, ret_unit, m->dev.kname) ||
		    !reconcile_is_hosts(b, &m->dev))
			continue;
		(void)snprintf(why, size, "%s is of the same device, and in use by this system",
			       m->dev.kname);
		return -EBUSY;
	}
	return 0;
}

/* A second client may force what the first one waits for. */
static void force_if_asked(struct power *p, enum medium_asked asked)
{
	if (asked <= p->asked || p->helper)
		return;
	p->asked = asked;
	registry_for_each (m, &p->broker->registry)
		if (m->power_id == p->id)
			m->power_id = 0; /* once more */
}

void power_begin(struct broker *b, struct medium *m, enum medium_asked asked,
		 struct control_peer *peer)
{
	struct power_unit unit = {0};
	struct power *p = NULL;
	char why[PATH_MAX + 64] = "out of memory";
	int r = check(b, m, &unit, why, sizeof(why));

	if (r == 0)
		p = find(b, &unit);
	if (r == 0 && !p)
		p = power_new(b, m, &unit);
	if (!p) {
		control_reply_error(peer, r < 0 ? r : -ENOMEM, "not switched off: %s", why);
		return;
	}
	control_peer_wait(peer, CONTROL_WAIT_POWER, "", p->id);
	force_if_asked(p, asked);
	go_on(p);
}

void power_ejected(struct broker *b, const struct medium *m, int err, const char *text)
{
	list_for_each_safe (at, next, &b->powers) {
		struct power *p = CONTAINER_OF(at, struct power, link);

		if (m->power_id != p->id || p->helper)
			continue;
		if (err < 0 && p->err == 0) {
			p->err = err;
			(void)snprintf(p->why, sizeof(p->why), "not switched off: %s: %s",
				       m->dev.kname, text);
		}
		go_on(p);
	}
}

void power_removed(struct broker *b)
{
	list_for_each_safe (at, next, &b->powers)
		go_on(CONTAINER_OF(at, struct power, link));
}

bool power_busy(const struct broker *b)
{
	return !list_empty(&b->powers);
}

void power_stop(struct broker *b)
{
	list_for_each_safe (at, next, &b->powers)
		power_free(CONTAINER_OF(at, struct power, link));
}
