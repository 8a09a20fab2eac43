#include "context.h"

#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "daemon/medium_json.h"

static struct json_object *answer_ok(void)
{
	struct json_object *answer = json_object_new_object();

	if (answer && json_object_object_add(answer, "ok", json_object_new_boolean(true)) < 0) {
		json_object_put(answer);
		return NULL;
	}
	return answer;
}

static struct json_object *describe(const struct broker *b, const struct medium *m)
{
	return medium_to_json(m, b->passthrough && b->config->passthrough);
}

static struct json_object *answer_medium(const struct broker *b, const struct medium *m)
{
	struct json_object *answer = answer_ok();

	if (answer && json_object_object_add(answer, "medium", describe(b, m)) < 0) {
		json_object_put(answer);
		return NULL;
	}
	return answer;
}

static void run_list(struct broker *b, struct control_peer *peer,
		     const struct control_request *request)
{
	struct json_object *answer = answer_ok();
	struct json_object *media = json_object_new_array();

	registry_for_each (m, &b->registry)
		if (m->view == MEDIUM_VISIBLE || (request->all && m->state != MEDIUM_REMOVED))
			(void)json_object_array_add(media, describe(b, m));
	if (!answer || json_object_object_add(answer, "media", media) < 0)
		json_object_put(media);
	control_reply(peer, answer);
}

static void run_wait(struct broker *b, struct control_peer *peer,
		     const struct control_request *request)
{
	struct medium *m = registry_find_visible(&b->registry, request->name);

	if (m)
		control_reply(peer, answer_medium(b, m));
	else
		control_peer_wait(peer, CONTROL_WAIT_NAME, request->name, 0);
}

static void run_monitor(struct broker *b, struct control_peer *peer,
			const struct control_request *request)
{
	(void)b;
	(void)request;
	control_reply(peer, answer_ok());
	control_peer_monitor(peer);
}

/* One that would have this name if it had not been ejected, and is still plugged in; or NULL. */
static struct medium *find_ejected(struct broker *b, const char *name)
{
	registry_for_each (m, &b->registry)
		if (m->state == MEDIUM_EJECTED && streq(m->base, name))
			return m;
	return NULL;
}

/* No medium is visible under the name: who ejects twice hears again what he was told. */
static void answer_again(struct broker *b, struct control_peer *peer, const char *name)
{
	struct medium *m = find_ejected(b, name);

	if (!m)
		control_reply_error(peer, -ENOENT, "there is no medium of this name");
	else if (m->view != MEDIUM_ABSENT || closing_claim_again(b, m))
		control_peer_wait(peer, CONTROL_WAIT_EJECT, "", m->id);
	else if (closing_flaw(m))
		control_reply_error(peer, -EIO, "%s", m->reason);
	else
		control_reply(peer, answer_medium(b, m));
}

static enum medium_asked how(const struct control_request *request)
{
	return request->force ? MEDIUM_ASKED_EJECT_FORCE : MEDIUM_ASKED_EJECT;
}

/* Also what was ejected before. m: what is visible under the name, or NULL. */
static void switch_off(struct broker *b, struct control_peer *peer, struct medium *m,
		       const struct control_request *request)
{
	if (!m)
		m = find_ejected(b, request->name);
	if (m)
		power_begin(b, m, how(request), peer);
	else
		control_reply_error(peer, -ENOENT, "there is no medium of this name");
}

static void run_eject(struct broker *b, struct control_peer *peer,
		      const struct control_request *request)
{
	struct medium *m = registry_find_visible(&b->registry, request->name);

	if (!control_peer_trusted(peer)) {
		control_reply_error(peer, -EPERM, "only root and the user of the daemon may eject");
		return;
	}
	if (request->power_off) {
		switch_off(b, peer, m, request);
		return;
	}
	if (!m) {
		answer_again(b, peer, request->name);
		return;
	}
	control_peer_wait(peer, CONTROL_WAIT_EJECT, "", m->id);
	closing_eject(b, m, how(request));
}

static void run_upgrade(struct broker *b, struct control_peer *peer,
			const struct control_request *request)
{
	(void)request;
	if (!control_peer_trusted(peer)) {
		control_reply_error(peer, -EPERM,
				    "only root and the user of the daemon may upgrade it");
		return;
	}
	control_peer_wait(peer, CONTROL_WAIT_UPGRADE, "", 0);
	upgrade_begin(b);
}

static void (*const commands[])(struct broker *, struct control_peer *,
				const struct control_request *) = {
	[CONTROL_LIST] = run_list,	 [CONTROL_WAIT] = run_wait,
	[CONTROL_MONITOR] = run_monitor, [CONTROL_EJECT] = run_eject,
	[CONTROL_UPGRADE] = run_upgrade,
};

void commands_request(struct control_peer *peer, const struct control_request *request, void *data)
{
	commands[request->command](data, peer, request);
}

/* RFC 3339 in UTC with milliseconds. */
static struct json_object *time_now(void)
{
	struct timespec now;
	struct tm tm;
	char text[40];
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, sizeof(text) - n, ".%03ldZ", now.tv_nsec / 1000000);
	return json_object_new_string(text);
}

static void broadcast(struct broker *b, struct medium *m, const char *event)
{
	struct json_object *object;

	if (!control_has_monitors(b->control))
		return;
	object = json_object_new_object();
	if (object) {
		json_object_object_add(object, "time", time_now());
		json_object_object_add(object, "event", json_object_new_string(event));
		json_object_object_add(object, "medium", describe(b, m));
		control_broadcast(b->control, object);
	}
	json_object_put(object);
}

void commands_event(struct broker *b, struct medium *m, const char *event)
{
	struct control_peer *peer;

	if (!b->control)
		return;
	broadcast(b, m, event);
	if (m->view != MEDIUM_VISIBLE)
		return;
	while ((peer = control_take_waiting(b->control, CONTROL_WAIT_NAME, m->name, 0)))
		control_reply(peer, answer_medium(b, m));
}

void commands_eject_done(struct broker *b, struct medium *m, int err, const char *text)
{
	struct control_peer *peer;

	power_ejected(b, m, err, text);
	if (!b->control)
		return;
	while ((peer = control_take_waiting(b->control, CONTROL_WAIT_EJECT, "", m->id))) {
		if (err < 0)
			control_reply_error(
				peer, err, "%s%s",
				m->state == MEDIUM_EJECTED ? "" : "not ejected: ", text);
		else
			control_reply(peer, answer_medium(b, m));
	}
}

void commands_power_done(struct broker *b, uint32_t id, int err, const char *text)
{
	struct control_peer *peer;

	if (!b->control)
		return;
	while ((peer = control_take_waiting(b->control, CONTROL_WAIT_POWER, "", id))) {
		if (err < 0)
			control_reply_error(peer, err, "%s", text);
		else
			control_reply(peer, answer_ok());
	}
}

void commands_upgrade_done(struct broker *b, int err, const char *text)
{
	struct control_peer *peer;

	if (!b->control)
		return;
	while ((peer = control_take_waiting(b->control, CONTROL_WAIT_UPGRADE, "", 0))) {
		struct json_object *answer;

		if (err < 0) {
			control_reply_error(peer, err, "not upgraded: %s", text);
			continue;
		}
		answer = answer_ok();
		if (answer)
			json_object_object_add(answer, "version",
					       json_object_new_string(HOTPLUGFS_VERSION));
		control_reply(peer, answer);
	}
}
