#include "cli/client.h"

#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/loop.h"
#include "cli/output.h"
#include "daemon/control.h"

/* Longest line that we take: LIMIT_MEDIA media, each with all its texts escaped. */
#define LINE_MAX_BYTES (64u << 20)

/* How long an answer may take that waits for no disk. */
#define PROMPT_MS 10000u

struct client {
	const struct command *command;
	int fd;
	int watched_fd; /* STDOUT_FILENO while its closing ends the wait, else -EBADF */
	char *buffer;	/* what has been read and not yet given out */
	size_t used;
	size_t size;
};

static const char *socket_path(const struct arguments *args)
{
	const char *path = arguments_value(args, "socket");

	if (!path)
		path = secure_getenv("HOTPLUGFS_SOCKET");
	return path && *path ? path : CONTROL_SOCKET_DEFAULT;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (!STR_COPY(address.sun_path, path))
		return -ENAMETOOLONG;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static void connect_explain(const struct command *command, const char *path, int err)
{
	if (err == -ENOENT || err == -ECONNREFUSED)
		error_print(command,
			    "no daemon on the socket %s; start one with hotplugfs mount, or tell "
			    "its socket with --socket or HOTPLUGFS_SOCKET",
			    QUOTE(path));
	else
		error_print(command, "cannot connect to the socket %s: %s", QUOTE(path),
			    error_text(-err));
}

int client_open(const struct arguments *args, struct client **ret_client)
{
	const char *path = socket_path(args);
	struct client *client;
	int fd = connect_to(path);

	if (fd < 0) {
		connect_explain(args->command, path, fd);
		return fd;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		close_fd(fd);
		error_print(args->command, "out of memory");
		return -ENOMEM;
	}
	client->command = args->command;
	client->fd = fd;
	client->watched_fd = -EBADF;
	*ret_client = client;
	return 0;
}

struct client *client_free(struct client *client)
{
	if (!client)
		return NULL;
	close_fd(client->fd);
	free(client->buffer);
	free(client);
	return NULL;
}

struct json_object *client_request(const char *name)
{
	struct json_object *request = json_object_new_object();

	if (request && json_object_object_add(request, "command", json_object_new_string(name)) < 0)
		json_putp(&request);
	return request;
}

static int send_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		length -= (size_t)n;
	}
	return 0;
}

static int request_send(struct client *client, struct json_object *request)
{
	const char *text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	int r = text ? 0 : -ENOMEM;

	if (r == 0)
		r = send_all(client->fd, text, strlen(text));
	if (r == 0)
		r = send_all(client->fd, "\n", 1);
	if (r == -EPIPE)
		r = 0; /* it does not listen: its reason can be read */
	if (r < 0)
		error_print(client->command, "cannot ask the daemon: %s", error_text(-r));
	return r;
}

/*
 * Waits until the socket can be read. Returns 0, -ETIMEDOUT, -EPIPE when nobody reads our stdout
 * any more, or -errno. deadline_ms: on the clock of now_ms().
 */
static int wait_readable(const struct client *client, uint64_t deadline_ms)
{
	for (;;) {
		struct pollfd fds[] = {{.fd = client->fd, .events = POLLIN},
				       {.fd = client->watched_fd}};
		uint64_t now = now_ms();
		int left = -1;
		int n;

		if (deadline_ms != CLIENT_FOREVER)
			left = deadline_ms > now ? (int)MIN(deadline_ms - now, 60000u) : 0;
		n = poll(fds, ARRAY_SIZE(fds), left);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0 && fds[0].revents)
			return 0;
		if (n > 0 && fds[1].revents)
			return -EPIPE;
		if (deadline_ms != CLIENT_FOREVER && now_ms() >= deadline_ms)
			return -ETIMEDOUT;
	}
}

static int buffer_grow(struct client *client)
{
	size_t size = client->size ? client->size * 2 : 8192;
	char *bigger;

	if (client->used < client->size)
		return 0;
	if (size > LINE_MAX_BYTES)
		return -EMSGSIZE;
	bigger = realloc(client->buffer, size);
	if (!bigger)
		return -ENOMEM;
	client->buffer = bigger;
	client->size = size;
	return 0;
}

/* Reads until the buffer holds a whole line. Returns the line's end, or the error in ret_err. */
static char *line_read(struct client *client, uint64_t deadline_ms, int *ret_err)
{
	size_t searched = 0;

	for (;;) {
		char *end = client->used ? memchr(client->buffer + searched, '\n',
						  client->used - searched)
					 : NULL;
		ssize_t n;

		if (end)
			return end;
		searched = client->used;
		*ret_err = buffer_grow(client);
		if (*ret_err == 0)
			*ret_err = wait_readable(client, deadline_ms);
		if (*ret_err < 0)
			return NULL;
		n = read(client->fd, client->buffer + client->used, client->size - client->used);
		if (n < 0 && errno == EINTR)
			continue;
		*ret_err = n == 0 ? -ECONNRESET : -errno;
		if (n <= 0)
			return NULL;
		client->used += (size_t)n;
	}
}

/* Takes the line up to end out of the buffer. */
static int line_take(struct client *client, const char *end, struct json_object **ret_object)
{
	struct json_object *object;
	size_t length = (size_t)(end - client->buffer);

	client->buffer[length] = '\0';
	object = json_tokener_parse(client->buffer);
	client->used -= length + 1;
	memmove(client->buffer, end + 1, client->used);
	if (!json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		return -EBADMSG;
	}
	*ret_object = object;
	return 0;
}

static void read_explain(const struct client *client, int err)
{
	if (err == -ECONNRESET)
		error_print(client->command, "the daemon ended the connection");
	else if (err == -EBADMSG)
		error_print(client->command, "the daemon's answer cannot be understood");
	else if (err != -ETIMEDOUT && err != -EPIPE)
		error_print(client->command, "cannot read the daemon's answer: %s",
			    error_text(-err));
}

static int object_read(struct client *client, uint64_t timeout_ms, struct json_object **ret_object)
{
	uint64_t deadline = timeout_ms == CLIENT_FOREVER ? CLIENT_FOREVER : now_ms() + timeout_ms;
	int r = 0;
	const char *end = line_read(client, deadline, &r);

	if (end)
		r = line_take(client, end, ret_object);
	if (r < 0)
		read_explain(client, r);
	return r;
}

int client_read(struct client *client, struct json_object **ret_object)
{
	int r;

	client->watched_fd = STDOUT_FILENO;
	r = object_read(client, CLIENT_FOREVER, ret_object);
	client->watched_fd = -EBADF;
	return r;
}

static int answer_check(const struct client *client, struct json_object *answer)
{
	struct json_object *error = NULL;
	_cleanup_free_ char *text = NULL;

	if (json_object_get_boolean(json_object_object_get(answer, "ok")))
		return 0;
	if (json_object_object_get_ex(answer, "error", &error))
		text = text_escape(json_object_get_string(error), NULL);
	error_print(client->command, "%s", text ? text : "the daemon refused without a reason");
	return -EREMOTEIO;
}

int client_call_prompt(struct client *client, struct json_object *request,
		       struct json_object **ret_answer)
{
	int r = client_call(client, request, PROMPT_MS, ret_answer);

	if (r == -ETIMEDOUT)
		error_print(client->command, "the daemon does not answer");
	return r;
}

int client_call(struct client *client, struct json_object *request, uint64_t timeout_ms,
		struct json_object **ret_answer)
{
	_cleanup_(json_putp) struct json_object *answer = NULL;
	int r;

	if (!request) {
		error_print(client->command, "out of memory");
		return -ENOMEM;
	}
	r = request_send(client, request);
	if (r == 0)
		r = object_read(client, timeout_ms, &answer);
	if (r == 0)
		r = answer_check(client, answer);
	if (r < 0)
		return r;
	*ret_answer = TAKE_PTR(answer);
	return 0;
}
