#include "context.h"

#include <stdio.h>
#include <time.h>

#include "base/log.h"

/* Busy and dirty take turns for each file of a copy: after one message the next waits a little. */
#define UPDATE_PAUSE_MS 100

static uint32_t info_flags(const struct broker *b, const struct medium *m)
{
	bool exchangeable = m->dev.removable || m->dev.unknown_hardware;
	bool unfenceable = exchangeable && !m->driver->has_shutdown;
	uint32_t flags = 0;

	if (m->read_only)
		flags |= LINK_INFO_READ_ONLY;
	if (m->view == MEDIUM_VISIBLE || m->view == MEDIUM_VANISHING)
		flags |= LINK_INFO_VISIBLE;
	/* Where a program has died, the kernel would answer with its own errors, not with ours. */
	if (unfenceable || !b->config->passthrough || m->driver->program)
		flags |= LINK_INFO_NO_PASSTHROUGH;
	if (m->driver->program)
		flags |= LINK_INFO_PROGRAM;
	if (m->driver->stable_inodes)
		flags |= LINK_INFO_STABLE_INODES;
	return flags;
}

static void fill_info(const struct broker *b, const struct medium *m, struct link_info *info)
{
	*info = (struct link_info){
		.id = m->id,
		.flags = info_flags(b, m),
		.owner_uid = m->decision.owner.set ? m->decision.owner.uid : UINT32_MAX,
		.owner_gid = m->decision.owner.set ? m->decision.owner.gid : UINT32_MAX,
		.appeared_s = m->appeared_s,
		.size_bytes = m->dev.size_bytes,
		.fs_total_bytes = m->total_bytes,
		.fs_free_bytes = m->free_bytes,
		.fs_block_size = m->block_size,
	};
	(void)STR_COPY(info->name, m->name);
	(void)STR_COPY(info->state, medium_state_name(m));
	(void)STR_COPY(info->reason, m->reason);
	(void)STR_COPY(info->uuid, m->probe.uuid);
	(void)STR_COPY(info->label, m->probe.label);
	(void)STR_COPY(info->fstype, m->probe.fstype);
	(void)STR_COPY(info->device, m->dev.kname);
	(void)STR_COPY(info->driver, m->driver->kernel_type);
	(void)STR_COPY(info->options, m->options);
}

static void send_info(struct broker *b, const struct medium *m, enum link_type type)
{
	struct link_message message = {.type = type, .id = m->id};

	fill_info(b, m, &message.info);
	supervisor_send(b->server, &message, -EBADF);
}

static bool is_known_to_server(const struct medium *m)
{
	return m->view != MEDIUM_ABSENT && m->view != MEDIUM_WAITING;
}

void visibility_update(struct broker *b, struct medium *m)
{
	m->update_pending = false;
	keep_changed(b);
	if (is_known_to_server(m))
		send_info(b, m, LINK_UPDATE);
}

static void update_pause_ends(void *data)
{
	struct medium *m = data;

	m->update_timer = loop_timer_remove(m->update_timer);
	if (m->update_pending)
		visibility_update_soon(m->broker, m);
}

void visibility_update_soon(struct broker *b, struct medium *m)
{
	m->update_pending = true;
	if (m->update_timer)
		return;
	visibility_update(b, m);
	(void)loop_timer_add(b->loop, UPDATE_PAUSE_MS, update_pause_ends, m, &m->update_timer);
}

/* A name that is on its way out may be the one that this medium gets. */
static bool must_wait(struct broker *b)
{
	registry_for_each (m, &b->registry)
		if (m->view == MEDIUM_VANISHING)
			return true;
	return false;
}

void visibility_show(struct broker *b, struct medium *m)
{
	struct medium_identity identity = medium_identity(m);
	int r;

	m->view = MEDIUM_WAITING;
	if (must_wait(b))
		return;
	r = names_assign(b->names, m->base, identity.text, m->name);
	if (r < 0) {
		m->view = MEDIUM_ABSENT;
		log_warning("cannot show %s: %s", m->dev.kname, strerror(-r));
		return;
	}
	precedence_take(b);
	m->appeared_s = (uint64_t)time(NULL);
	m->view = MEDIUM_ADDING;
	send_info(b, m, LINK_ADD);
}

static void show_waiting(struct broker *b)
{
	if (must_wait(b))
		return;
	registry_for_each (m, &b->registry)
		if (m->view == MEDIUM_WAITING)
			visibility_show(b, m);
}

static void drop_name(struct broker *b, struct medium *m)
{
	server_send(b, m, LINK_FORGET, 0, 0, -EBADF);
	names_release(b->names, m->name);
	m->name[0] = '\0';
	m->view = MEDIUM_ABSENT;
	keep_changed(b);
}

static void announce(struct broker *b, struct medium *m)
{
	m->mkdir_queued = true;
	if (announcer_queue(b->announcer, m->id, true, m->name) < 0)
		drop_name(b, m);
}

void visibility_added(struct broker *b, struct medium *m)
{
	if (m->view != MEDIUM_ADDING)
		return;
	m->view = MEDIUM_APPEARING;
	m->mkdir_queued = false;
	if (keep_has_names(b))
		announce(b, m);
}

void visibility_kept(struct broker *b)
{
	registry_for_each (m, &b->registry)
		if (m->view == MEDIUM_APPEARING && !m->mkdir_queued)
			announce(b, m);
}

void visibility_hide(struct broker *b, struct medium *m)
{
	m->wanted = false;
	if (m->view == MEDIUM_WAITING)
		m->view = MEDIUM_ABSENT;
	if (m->view == MEDIUM_ABSENT || m->view == MEDIUM_VANISHING)
		return;
	precedence_take(b);
	server_send(b, m, LINK_REMOVE, 0, -ENODEV, -EBADF);
	if (m->view == MEDIUM_ADDING) {
		drop_name(b, m);
		return;
	}
	m->view = MEDIUM_VANISHING;
	m->rmdir_queued = false;
	keep_changed(b);
}

/*
 * Only now: a directory that the kernel still has in its cache would be marked as removed, and
 * its open handles read as empty instead of failing.
 */
void visibility_fenced(struct broker *b, struct medium *m)
{
	if (m->view != MEDIUM_VANISHING || m->rmdir_queued)
		return;
	m->rmdir_queued = true;
	if (announcer_queue(b->announcer, m->id, false, m->name) < 0)
		log_err("out of memory, the directory %s stays", QUOTE(m->name));
}

static void appeared(struct broker *b, struct medium *m)
{
	m->view = MEDIUM_VISIBLE;
	m->told_appeared = true;
	visibility_update(b, m); /* the server that saw the mkdir may have died since */
	log_info("%s appeared: %s on %s, %s", QUOTE(m->name), m->probe.fstype, m->dev.kname,
		 m->read_only ? "read-only" : "writable");
	commands_event(b, m, "appeared");
	broker_check_ready(b);
}

static void not_announced(struct broker *b, struct medium *m, int err)
{
	log_err("cannot make the directory %s: %s", QUOTE(m->name), strerror(-err));
	server_send(b, m, LINK_REMOVE, 0, -ENODEV, -EBADF);
	drop_name(b, m);
	if (!medium_is_engaged(m) && m->state != MEDIUM_REMOVED)
		reconcile_conceal(b, m, "its directory could not be made");
}

static void vanished(struct broker *b, struct medium *m)
{
	bool ejected = m->state == MEDIUM_EJECTED;

	if (m->told_appeared) {
		log_info("%s %s", QUOTE(m->name), ejected ? "ejected" : "removed");
		commands_event(b, m, ejected ? "ejected" : "removed");
	}
	m->told_appeared = false;
	drop_name(b, m);
	if (ejected) {
		keep_now(b); /* whoever has been told so does not see it again after a crash */
		commands_eject_done(b, m, closing_flaw(m) ? -EIO : 0, m->reason);
	}
	show_waiting(b);
	reconcile_put_off(b, m);
	removal_finish(b, m);
}

/* EEXIST and ENOENT: an announcer that died had done it before. */
void visibility_announced(uint32_t id, bool make, int err, void *data)
{
	struct broker *b = data;
	struct medium *m = registry_find(&b->registry, id);

	if (!m)
		return;
	if (make && m->view == MEDIUM_APPEARING) {
		if (err == 0 || err == -EEXIST)
			appeared(b, m);
		else
			not_announced(b, m, err);
	}
	if (!make && m->view == MEDIUM_VANISHING) {
		if (err < 0 && err != -ENOENT)
			log_err("cannot remove the directory %s: %s", QUOTE(m->name),
				strerror(-err));
		vanished(b, m);
	}
}

void visibility_resend(struct broker *b)
{
	registry_for_each (m, &b->registry) {
		if (!is_known_to_server(m))
			continue;
		send_info(b, m, LINK_ADD);
		if (m->view == MEDIUM_VANISHING)
			server_send(b, m, LINK_REMOVE, 0, -ENODEV, -EBADF);
		else
			storage_resend(b, m);
	}
}
