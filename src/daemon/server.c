#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/fdstore.h"
#include "base/lifeline.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/sandbox.h"
#include "daemon/link.h"
#include "fs/store.h"
#include "fs/view.h"

/* After counts of open files were told: the next ones are told together. */
#define USE_PAUSE_MS 20

/* A medium, as far as its idle timer is concerned. */
struct served {
	struct list link;
	uint32_t id;
	struct server *server;
	struct loop_timer *idle_timer;
};

struct server {
	struct loop *loop;
	struct view *view;
	int link_fd;
	int change_fd; /* eventfd: a thread of the view has something to tell */
	int done_fd;   /* eventfd: the connection has ended */
	_Atomic int done_err;
	uint64_t idle_timeout_ms;
	struct loop_timer *use_timer; /* runs during the pause */
	bool use_pending;	      /* something changed in it */
	struct list media;
};

static void send_id(struct server *s, enum link_type type, uint32_t id, int err)
{
	const struct link_message message = {.type = type, .id = id, .err = err};

	(void)link_send(s->link_fd, &message, -1); /* a broker that is gone ends the loop */
}

/* ---- from the view's threads ---- */

static void poke(int event_fd)
{
	const uint64_t one = 1;

	(void)!write(event_fd, &one, sizeof(one));
}

static void on_want_mount(uint32_t id, void *data)
{
	send_id(data, LINK_WANT_MOUNT, id, 0);
}

static void on_changed(void *data)
{
	struct server *s = data;

	poke(s->change_fd);
}

static void on_closed(uint32_t id, int err, void *data)
{
	struct server *s = data;
	struct link_message message = {.type = LINK_CLOSED, .id = id, .err = err};
	struct view_use use;

	if (err < 0 && view_medium_peek(s->view, id, &use))
		message.openers = use.openers;
	(void)link_send(s->link_fd, &message, -1);
	if (err < 0)
		poke(s->change_fd); /* its idle timer is to run again */
}

static void on_fenced(uint32_t id, void *data)
{
	send_id(data, LINK_FENCED, id, 0);
}

static void on_done(int err, void *data)
{
	struct server *s = data;

	s->done_err = err;
	poke(s->done_fd);
}

/* ---- idle media ---- */

static void idle_arm(struct served *m, uint64_t delay_ms);

static void idle_check(void *data)
{
	struct served *m = data;
	struct server *s = m->server;
	uint64_t idle_ms = view_medium_idle_ms(s->view, m->id);

	m->idle_timer = loop_timer_remove(m->idle_timer);
	if (idle_ms == UINT64_MAX || s->idle_timeout_ms == 0)
		return; /* armed again by the next change */
	if (idle_ms >= s->idle_timeout_ms)
		send_id(s, LINK_IDLE, m->id, 0);
	else
		idle_arm(m, s->idle_timeout_ms - idle_ms);
}

static void idle_arm(struct served *m, uint64_t delay_ms)
{
	if (!m->idle_timer && m->server->idle_timeout_ms > 0)
		(void)loop_timer_add(m->server->loop, delay_ms, idle_check, m, &m->idle_timer);
}

static void use_pause_ends(void *data);

static void tell_use(struct server *s)
{
	s->use_pending = false;
	(void)loop_timer_add(s->loop, USE_PAUSE_MS, use_pause_ends, s, &s->use_timer);
	list_for_each (it, &s->media) {
		struct served *m = CONTAINER_OF(it, struct served, link);
		struct view_use use;

		if (view_medium_use(s->view, m->id, &use)) {
			const struct link_message message = {
				.type = LINK_USE,
				.id = m->id,
				.openers = use.openers,
				.writers = use.writers,
				.flags = use.written ? LINK_USE_WRITTEN : 0,
			};

			(void)link_send(s->link_fd, &message, -1);
		}
		if (view_medium_idle_ms(s->view, m->id) != UINT64_MAX)
			idle_arm(m, s->idle_timeout_ms);
	}
}

static void use_pause_ends(void *data)
{
	struct server *s = data;

	s->use_timer = loop_timer_remove(s->use_timer);
	if (s->use_pending)
		tell_use(s);
}

static void change_seen(int fd, uint32_t events, void *data)
{
	struct server *s = data;
	uint64_t count;

	(void)events;
	(void)!read(fd, &count, sizeof(count));
	if (s->use_timer)
		s->use_pending = true;
	else
		tell_use(s);
}

/* ---- from the broker ---- */

static struct served *served_find(struct server *s, uint32_t id)
{
	list_for_each (it, &s->media) {
		struct served *m = CONTAINER_OF(it, struct served, link);

		if (m->id == id)
			return m;
	}
	return NULL;
}

static void text_add(struct view_medium *facts, const char *key, const char *value)
{
	struct view_text *text = &facts->texts[facts->text_count++];

	text->key = key;
	(void)STR_COPY(text->value, value);
}

/* The link's form of a medium to the view's. */
static void facts_of(const struct link_info *info, struct view_medium *facts)
{
	char size[24];

	*facts = (struct view_medium){
		.id = info->id,
		.visible = info->flags & LINK_INFO_VISIBLE,
		.passthrough = !(info->flags & LINK_INFO_NO_PASSTHROUGH),
		.program = info->flags & LINK_INFO_PROGRAM,
		.stable_inodes = info->flags & LINK_INFO_STABLE_INODES,
		.owned = info->owner_uid != UINT32_MAX,
		.uid = info->owner_uid,
		.gid = info->owner_gid,
		.appeared_s = info->appeared_s,
		.total_bytes = info->fs_total_bytes,
		.free_bytes = info->fs_free_bytes,
		.block_size = info->fs_block_size,
	};
	(void)STR_COPY(facts->name, info->name);
	(void)snprintf(size, sizeof(size), "%llu", (unsigned long long)info->size_bytes);
	text_add(facts, "state", info->state);
	text_add(facts, "reason", info->reason);
	text_add(facts, "uuid", info->uuid);
	text_add(facts, "label", info->label);
	text_add(facts, "fstype", info->fstype);
	text_add(facts, "device", info->device);
	text_add(facts, "size", size);
	text_add(facts, "driver", info->driver);
	text_add(facts, "options", info->options);
}

static void do_add(struct server *s, const struct link_message *message)
{
	struct served *m = calloc(1, sizeof(*m));
	struct view_medium facts;
	int r = m ? 0 : -ENOMEM;

	facts_of(&message->info, &facts);
	if (r == 0)
		r = view_medium_add(s->view, &facts);
	if (r < 0) {
		log_err("cannot show medium %s: %s", QUOTE(facts.name), errno_name(-r));
		free(m);
		return;
	}
	m->id = facts.id;
	m->server = s;
	list_append(&s->media, &m->link);
	send_id(s, LINK_ADDED, m->id, 0);
}

static void do_update(struct server *s, const struct link_message *message)
{
	struct view_medium facts;

	facts_of(&message->info, &facts);
	view_medium_update(s->view, &facts);
}

static void do_forget(struct server *s, uint32_t id)
{
	struct served *m = served_find(s, id);

	view_medium_forget(s->view, id);
	if (m) {
		m->idle_timer = loop_timer_remove(m->idle_timer);
		list_remove(&m->link);
		free(m);
	}
}

static void do_root(struct server *s, const struct link_message *message, int *fd)
{
	struct served *m = served_find(s, message->id);

	view_medium_root(s->view, message->id, take_fd(fd), message->err);
	if (m && message->err == 0)
		idle_arm(m, s->idle_timeout_ms);
}

static void do_close(struct server *s, const struct link_message *message)
{
	enum view_close how = VIEW_CLOSE_IDLE;

	if (message->flags & LINK_CLOSE_EJECT)
		how = VIEW_CLOSE_EJECT;
	if (message->flags & LINK_CLOSE_FORCE)
		how = VIEW_CLOSE_FORCE;
	view_medium_close(s->view, message->id, how);
}

static void do_settings(struct server *s, const struct link_message *message)
{
	view_set_strict(s->view, message->flags & LINK_SETTINGS_STRICT);
	s->idle_timeout_ms = message->idle_timeout_ms;
	list_for_each (it, &s->media) {
		struct served *m = CONTAINER_OF(it, struct served, link);

		m->idle_timer = loop_timer_remove(m->idle_timer);
		if (view_medium_idle_ms(s->view, m->id) != UINT64_MAX)
			idle_arm(m, s->idle_timeout_ms);
	}
}

static void do_start(struct server *s)
{
	int r = view_start(s->view, on_done, s);

	if (r < 0) {
		log_err("cannot start the server's first thread: %s", errno_name(-r));
		loop_quit(s->loop, r);
	}
}

static void handle(struct server *s, const struct link_message *message, int *fd)
{
	switch (message->type) {
	case LINK_ADD:
		do_add(s, message);
		break;
	case LINK_UPDATE:
		do_update(s, message);
		break;
	case LINK_ROOT:
		do_root(s, message, fd);
		break;
	case LINK_CLOSE:
		do_close(s, message);
		break;
	case LINK_OPEN:
		view_medium_reopen(s->view, message->id);
		break;
	case LINK_REMOVE:
		view_medium_remove(s->view, message->id, message->err);
		break;
	case LINK_FORGET:
		do_forget(s, message->id);
		break;
	case LINK_ANNOUNCER:
		view_set_announcer(s->view, message->pid);
		break;
	case LINK_SETTINGS:
		do_settings(s, message);
		break;
	case LINK_START:
		do_start(s);
		break;
	case LINK_QUIT:
		loop_quit(s->loop, 0);
		break;
	case LINK_READY:
	case LINK_ADDED:
	case LINK_WANT_MOUNT:
	case LINK_USE:
	case LINK_IDLE:
	case LINK_CLOSED:
	case LINK_FENCED:
		log_debug("the broker sent a message of ours: %d, ignoring", (int)message->type);
		break;
	}
}

static void link_readable(int sock, uint32_t events, void *data)
{
	struct server *s = data;
	struct link_message message;
	_cleanup_close_ int fd = -EBADF;
	int r = link_receive(sock, &message, &fd);

	(void)events;
	if (r == 0)
		handle(s, &message, &fd);
	else if (r == -EPIPE)
		loop_quit(s->loop, r); /* the broker is gone; the view may outlive both of us */
	else if (r != -EAGAIN)
		log_warning("cannot read from the broker: %s, ignoring", errno_name(-r));
}

static void done_seen(int fd, uint32_t events, void *data)
{
	struct server *s = data;

	(void)fd;
	(void)events;
	loop_quit(s->loop, s->done_err);
}

/* ---- life ---- */

int server_state_new(void)
{
	return store_new_fd();
}

void server_state_layout(char *ret_text, size_t size)
{
	view_store_layout(ret_text, size);
}

/* As many open files as the hard limit allows: each open file of a client is one of ours. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int server_open(struct server *s, const struct server_args *args)
{
	const struct view_args view_args = {
		.fuse_fd = args->fuse_fd,
		.store_fd = args->nodes_fd,
		.previous_fd = args->previous_fd,
		.passthrough = args->passthrough,
		.strict = args->strict,
		.events = {.want_mount = on_want_mount,
			   .changed = on_changed,
			   .closed = on_closed,
			   .fenced = on_fenced,
			   .data = s},
	};
	struct link_message ready = {.type = LINK_READY};
	struct view_features features;
	int r = view_new(&view_args, &s->view, &features);

	if (r == -EPROTO)
		log_err("this kernel's FUSE is too old: protocol 7.31 (Linux 5.4) is needed");
	if (r < 0)
		return r;
	if (features.passthrough)
		ready.flags |= LINK_FEATURE_PASSTHROUGH;
	if (features.resend)
		ready.flags |= LINK_FEATURE_RESEND;
	return link_send(s->link_fd, &ready, -1);
}

static int server_watch(struct server *s)
{
	int r;

	s->change_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->change_fd < 0 || s->done_fd < 0)
		return -errno;
	r = loop_fd_add(s->loop, s->link_fd, EPOLLIN, link_readable, s, NULL);
	if (r == 0)
		r = loop_fd_add(s->loop, s->change_fd, EPOLLIN, change_seen, s, NULL);
	if (r == 0)
		r = loop_fd_add(s->loop, s->done_fd, EPOLLIN, done_seen, s, NULL);
	return r;
}

int server_main(const struct server_args *args)
{
	struct server s = {
		.link_fd = args->link_fd,
		.change_fd = -EBADF,
		.done_fd = -EBADF,
		.idle_timeout_ms = args->idle_timeout_ms,
		.media = LIST_INIT(s.media),
	};
	bool filtered;
	int r;

	(void)signal(SIGIO, SIG_IGN); /* somebody opens a file that has a lease: see fs/mapping.c */
	raise_file_limit();
	r = fdstore_start(args->fdstore_fd);
	if (r < 0) /* what has no name any more would be lost with us, and nothing else */
		log_warning("no process to keep open files: %s, going on without", errno_name(-r));
	r = loop_new(&s.loop);
	if (r == 0)
		r = sandbox_enter(SANDBOX_SERVER, &filtered);
	if (r < 0)
		return r;
	if (!filtered)
		log_notice("the kernel has no seccomp: the server runs without a filter");
	r = lifeline_start(args->life_fd);
	if (r < 0)
		log_warning("cannot tell when this process is killed: %s, ignoring",
			    errno_name(-r));
	r = server_watch(&s);
	if (r == 0)
		r = server_open(&s, args);
	if (r == 0)
		r = loop_run(s.loop);
	/* other threads may still use all of it: the process ends, and it ends with it */
	return r;
}
