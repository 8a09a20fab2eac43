/* The control socket and its clients over execve(2). */
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/control_internal.h"
#include "daemon/record.h"

struct kept_peer {
	int32_t fd;
	uint32_t uid;
	bool end_of_input;
	bool monitor;
	uint32_t wait;
	char wait_name[LIMIT_NAME + 1];
	uint32_t wait_id;
};

#define FIELD(kind, member) RECORD_FIELD(struct kept_peer, RECORD_##kind, #member, member)

static const struct record_field fields[] = {
	FIELD(NUMBER, fd),	FIELD(NUMBER, uid),  FIELD(BOOL, end_of_input),
	FIELD(BOOL, monitor),	FIELD(NUMBER, wait), FIELD(TEXT, wait_name),
	FIELD(NUMBER, wait_id),
};

/* ---- leaving ---- */

static int add_bytes(struct json_object *into, const char *name, const char *bytes, size_t len)
{
	return record_add(into, name, json_object_new_string_len(len ? bytes : "", (int)len));
}

static int leave_peer(const struct control_peer *p, struct json_object *peers)
{
	struct json_object *object = json_object_new_object();
	struct kept_peer kept = {.fd = p->fd,
				 .uid = p->uid,
				 .end_of_input = p->end_of_input,
				 .monitor = p->monitor,
				 .wait = p->wait,
				 .wait_id = p->wait_id};
	int r;

	(void)STR_COPY(kept.wait_name, p->wait_name);
	r = record_pack(fields, ARRAY_SIZE(fields), &kept, object);
	if (r == 0)
		r = add_bytes(object, "input", p->input, p->input_len);
	if (r == 0)
		r = add_bytes(object, "output", p->output, p->output_len);
	if (r == 0 && json_object_array_add(peers, object) < 0)
		r = -ENOMEM;
	if (r < 0)
		json_object_put(object);
	return r;
}

int control_leave(const struct control *c, struct json_object *into, int (*fd)(int fd, void *data),
		  void *data)
{
	struct json_object *peers = json_object_new_array();
	int r = record_add(into, "peers", peers);

	if (r == 0)
		r = record_add(into, "fd", json_object_new_int(c->fd));
	if (r == 0)
		r = record_add(into, "path", json_object_new_string(c->path));
	if (r == 0)
		r = record_add(into, "made_dir",
			       json_object_new_string(c->made_dir ? c->made_dir : ""));
	if (r == 0)
		r = fd(c->fd, data);
	list_for_each (it, &c->peers) {
		const struct control_peer *p = CONTAINER_OF(it, struct control_peer, link);

		if (r == 0)
			r = fd(p->fd, data);
		if (r == 0)
			r = leave_peer(p, peers);
	}
	return r;
}

/* ---- taking ---- */

static size_t bytes_of(struct json_object *from, const char *name, const char **ret_bytes)
{
	struct json_object *value = json_object_object_get(from, name);

	if (!json_object_is_type(value, json_type_string))
		return 0;
	*ret_bytes = json_object_get_string(value);
	return (size_t)json_object_get_string_len(value);
}

static int take_buffers(struct control_peer *p, struct json_object *from)
{
	const char *input = NULL;
	const char *output = NULL;
	size_t input_len = bytes_of(from, "input", &input);
	size_t output_len = bytes_of(from, "output", &output);

	if (input_len > sizeof(p->input))
		return -EBADMSG;
	if (output_len > 0) {
		p->output = malloc(output_len);
		if (!p->output)
			return -ENOMEM;
		memcpy(p->output, output, output_len);
	}
	if (input_len > 0)
		memcpy(p->input, input, input_len);
	p->input_len = input_len;
	p->output_len = output_len;
	return 0;
}

static int take_peer(struct control *c, struct json_object *from)
{
	struct control_peer *p = calloc(1, sizeof(*p));
	struct kept_peer kept = {0};
	const char *name;
	int r;

	if (!p)
		return -ENOMEM;
	p->control = c;
	r = record_unpack(fields, ARRAY_SIZE(fields), from, &kept, &name);
	if (r == 0 && kept.wait > CONTROL_WAIT_UPGRADE)
		r = -EBADMSG;
	if (r == 0)
		r = take_buffers(p, from);
	if (r == 0)
		r = loop_fd_add(c->loop, kept.fd, EPOLLIN, control_peer_ready, p, &p->source);
	if (r < 0) {
		free(p->output);
		free(p);
		return r;
	}
	p->fd = kept.fd;
	p->uid = kept.uid;
	p->end_of_input = kept.end_of_input;
	p->monitor = kept.monitor;
	p->wait = (enum control_wait)kept.wait;
	p->wait_id = kept.wait_id;
	(void)STR_COPY(p->wait_name, kept.wait_name);
	list_append(&c->peers, &p->link);
	c->peer_count++;
	control_peer_arm(p);
	return 0;
}

static int take_texts(struct control *c, struct json_object *from)
{
	const char *path = NULL;
	const char *made_dir = NULL;

	if (bytes_of(from, "path", &path) == 0)
		return -EBADMSG;
	c->path = strdup(path);
	if (!c->path)
		return -ENOMEM;
	if (bytes_of(from, "made_dir", &made_dir) > 0)
		c->made_dir = strdup(made_dir);
	return 0;
}

int control_take(struct loop *loop, struct json_object *from, control_request_fn fn, void *data,
		 struct control **ret_control)
{
	struct json_object *peers = json_object_object_get(from, "peers");
	struct json_object *fd = json_object_object_get(from, "fd");
	struct control *c;
	int r;

	if (!json_object_is_type(peers, json_type_array) || !json_object_is_type(fd, json_type_int))
		return -EBADMSG;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct control){.loop = loop, .fn = fn, .data = data, .fd = json_object_get_int(fd)};
	list_init(&c->peers);
	*ret_control = c;
	r = take_texts(c, from);
	if (r == 0)
		r = loop_fd_add(loop, c->fd, EPOLLIN, control_listener_ready, c, &c->source);
	for (size_t i = 0; r == 0 && i < json_object_array_length(peers); i++)
		r = take_peer(c, json_object_array_get_idx(peers, i));
	return r;
}
