#include "control_internal.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/listen.h"
#include "base/log.h"

/* A client that leaves so much unread is dropped: of a list, and of events. */
#define UNSENT_MAX	  (8 << 20)
#define UNSENT_EVENTS_MAX (256 << 10)

static void peer_free(struct control_peer *p)
{
	list_remove(&p->link);
	p->control->peer_count--;
	loop_fd_remove(p->source);
	close_fd(p->fd);
	free(p->output);
	free(p);
}

/* Marks it; the event loop's next look at it frees it, so that callers need not care. */
static void peer_drop(struct control_peer *p)
{
	if (p->fd >= 0)
		(void)shutdown(p->fd, SHUT_RDWR);
	p->wait = CONTROL_WAIT_NOTHING;
	p->monitor = false;
	p->end_of_input = true;
	free(p->output);
	p->output = NULL;
	p->output_len = 0;
}

static bool has_line(const struct control_peer *p)
{
	return memchr(p->input, '\n', p->input_len);
}

/* One answer at a time: who reads none of them must not fill our memory with them. */
static bool may_ask(const struct control_peer *p)
{
	return p->wait == CONTROL_WAIT_NOTHING && p->output_len == 0;
}

/* It has said all and been told all, and is not to hear of events. */
static bool is_done(const struct control_peer *p)
{
	return p->end_of_input && may_ask(p) && !p->monitor;
}

/*
 * What to wait for follows from what there is to do. A line that came while the client waited
 * for an earlier answer is looked at when the socket can be written.
 */
void control_peer_arm(struct control_peer *p)
{
	uint32_t events = 0;

	if (!p->end_of_input && p->input_len < sizeof(p->input))
		events |= EPOLLIN | EPOLLRDHUP; /* without room, its end could not be read */
	if (p->output_len > 0 || (may_ask(p) && has_line(p)) || is_done(p))
		events |= EPOLLOUT;
	(void)loop_fd_events(p->source, events);
}

static void peer_flush(struct control_peer *p)
{
	while (p->output_len > 0) {
		ssize_t n = send(p->fd, p->output, p->output_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			peer_drop(p);
			return;
		}
		p->output_len -= (size_t)n;
		memmove(p->output, p->output + n, p->output_len);
	}
}

static void peer_write(struct control_peer *p, const char *text, size_t len)
{
	size_t max = p->monitor ? UNSENT_EVENTS_MAX : UNSENT_MAX;
	char *larger;

	if (p->output_len + len > max) {
		peer_drop(p);
		return;
	}
	larger = realloc(p->output, p->output_len + len);
	if (!larger) {
		peer_drop(p);
		return;
	}
	memcpy(larger + p->output_len, text, len);
	p->output = larger;
	p->output_len += len;
	peer_flush(p);
	control_peer_arm(p);
}

static void peer_write_object(struct control_peer *p, struct json_object *object)
{
	size_t len;
	const char *text = json_object_to_json_string_length(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	if (!text) {
		peer_drop(p);
		return;
	}
	peer_write(p, text, len);
	peer_write(p, "\n", 1);
}

static void peer_line(struct control_peer *p)
{
	char *end = memchr(p->input, '\n', p->input_len);
	size_t len = (size_t)(end - p->input);
	struct control_request request;
	char error[96];

	if (control_request_parse(p->input, len, &request, error, sizeof(error)) < 0)
		control_reply_error(p, -EINVAL, "%s", error);
	else
		p->control->fn(p, &request, p->control->data);
	p->input_len -= len + 1;
	memmove(p->input, end + 1, p->input_len);
}

static void peer_lines(struct control_peer *p)
{
	while (may_ask(p) && has_line(p))
		peer_line(p);
	if (p->input_len == sizeof(p->input) && !has_line(p) && may_ask(p)) {
		control_reply_error(p, -EMSGSIZE, "the request is too long");
		p->end_of_input = true;
	}
}

static void peer_read(struct control_peer *p)
{
	ssize_t n = recv(p->fd, p->input + p->input_len, sizeof(p->input) - p->input_len,
			 MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		p->end_of_input = true;
		return;
	}
	p->input_len += (size_t)n;
}

void control_peer_ready(int fd, uint32_t events, void *data)
{
	struct control_peer *p = data;

	(void)fd;
	if (events & EPOLLOUT)
		peer_flush(p);
	if ((events & (EPOLLIN | EPOLLRDHUP)) && !p->end_of_input &&
	    p->input_len < sizeof(p->input))
		peer_read(p);
	peer_lines(p);
	if (events & (EPOLLHUP | EPOLLERR))
		peer_drop(p);
	if (is_done(p))
		peer_free(p);
	else
		control_peer_arm(p);
}

/* Others cannot take all the room, so that root can still eject. */
static bool has_room(const struct control *c, uid_t uid)
{
	unsigned users = 0;

	if (listen_trusts(uid))
		return c->peer_count < LIMIT_CONTROL_PEERS;
	list_for_each (it, &c->peers)
		users += !control_peer_trusted(CONTAINER_OF(it, struct control_peer, link));
	return c->peer_count < LIMIT_CONTROL_PEERS && users < LIMIT_CONTROL_USERS;
}

static int peer_add(struct control *c, int fd, uid_t uid)
{
	struct control_peer *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->control = c;
	p->fd = -EBADF;
	p->uid = uid;
	r = loop_fd_add(c->loop, fd, EPOLLIN | EPOLLRDHUP, control_peer_ready, p, &p->source);
	if (r < 0) {
		free(p);
		return r;
	}
	p->fd = fd;
	list_append(&c->peers, &p->link);
	c->peer_count++;
	return 0;
}

void control_listener_ready(int fd, uint32_t events, void *data)
{
	static const char too_many[] =
		"{\"ok\":false,\"error\":\"too many clients\",\"errno\":\"EAGAIN\"}\n";
	struct control *c = data;
	int peer = listen_accept(c->loop, fd, c->source, &c->pause);
	uid_t uid;

	(void)events;
	if (peer < 0)
		return;
	uid = listen_peer_uid(peer);
	if (!has_room(c, uid))
		(void)!send(peer, too_many, strlen(too_many), MSG_NOSIGNAL);
	else if (peer_add(c, peer, uid) == 0)
		return;
	close_fd(peer);
}

int control_new(struct loop *loop, const char *path, control_request_fn fn, void *data,
		struct control **ret_control)
{
	struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	*c = (struct control){.loop = loop, .fn = fn, .data = data, .fd = -EBADF};
	list_init(&c->peers);
	r = listen_unix(path, SOCK_STREAM, &c->made_dir);
	if (r >= 0) {
		c->fd = r;
		c->path = strdup(path);
		r = c->path ? loop_fd_add(loop, c->fd, EPOLLIN, control_listener_ready, c,
					  &c->source)
			    : -ENOMEM;
	}
	if (r < 0) {
		control_free(c);
		return r;
	}
	*ret_control = c;
	return 0;
}

struct control *control_free(struct control *c)
{
	if (!c)
		return NULL;
	list_for_each_safe (it, tmp, &c->peers)
		peer_free(CONTAINER_OF(it, struct control_peer, link));
	loop_fd_remove(c->source);
	loop_timer_remove(c->pause.timer);
	close_fd(c->fd);
	if (c->path)
		(void)unlink(c->path);
	if (c->made_dir)
		(void)rmdir(c->made_dir);
	free(c->made_dir);
	free(c->path);
	free(c);
	return NULL;
}

bool control_peer_trusted(const struct control_peer *p)
{
	return listen_trusts(p->uid);
}

void control_reply(struct control_peer *p, struct json_object *object)
{
	if (!object) {
		peer_drop(p);
		return;
	}
	peer_write_object(p, object);
	json_object_put(object);
}

void control_reply_error(struct control_peer *p, int err, const char *fmt, ...)
{
	struct json_object *object = json_object_new_object();
	char text[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (object) {
		json_object_object_add(object, "ok", json_object_new_boolean(false));
		json_object_object_add(object, "error", json_object_new_string(text));
		json_object_object_add(object, "errno", json_object_new_string(errno_name(-err)));
	}
	control_reply(p, object);
}

void control_peer_wait(struct control_peer *p, enum control_wait wait, const char *name,
		       uint32_t id)
{
	p->wait = wait;
	p->wait_id = id;
	(void)STR_COPY(p->wait_name, name);
}

struct control_peer *control_take_waiting(struct control *c, enum control_wait wait,
					  const char *name, uint32_t id)
{
	list_for_each (it, &c->peers) {
		struct control_peer *p = CONTAINER_OF(it, struct control_peer, link);

		if (p->wait != wait)
			continue;
		if (wait == CONTROL_WAIT_NAME ? !streq(p->wait_name, name) : p->wait_id != id)
			continue;
		p->wait = CONTROL_WAIT_NOTHING;
		return p;
	}
	return NULL;
}

void control_peer_monitor(struct control_peer *p)
{
	p->monitor = true;
}

bool control_has_monitors(const struct control *c)
{
	list_for_each (it, &c->peers)
		if (CONTAINER_OF(it, struct control_peer, link)->monitor)
			return true;
	return false;
}

void control_broadcast(struct control *c, struct json_object *object)
{
	list_for_each (it, &c->peers) {
		struct control_peer *p = CONTAINER_OF(it, struct control_peer, link);

		if (p->monitor)
			peer_write_object(p, object);
	}
}
