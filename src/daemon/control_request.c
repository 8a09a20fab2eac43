#include "control.h"

#include <stdio.h>

static const struct {
	const char *word;
	enum control_command command;
	bool named; /* it needs a name */
} commands[] = {
	{"list", CONTROL_LIST, false},	     {"wait", CONTROL_WAIT, true},
	{"monitor", CONTROL_MONITOR, false}, {"eject", CONTROL_EJECT, true},
	{"upgrade", CONTROL_UPGRADE, false},
};

/* One object and nothing behind it; nested no deeper than any request needs. */
static struct json_object *parse_object(const char *line, size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(4);
	struct json_object *object;

	if (!tokener)
		return NULL;
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, line, (int)len);
	if (json_tokener_get_error(tokener) != json_tokener_success ||
	    json_tokener_get_parse_end(tokener) != len ||
	    !json_object_is_type(object, json_type_object)) {
		json_object_put(object);
		object = NULL;
	}
	json_tokener_free(tokener);
	return object;
}

static int read_command(struct json_object *object, struct control_request *request, bool *named)
{
	struct json_object *value = json_object_object_get(object, "command");

	if (!json_object_is_type(value, json_type_string))
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!streq(json_object_get_string(value), commands[i].word))
			continue;
		request->command = commands[i].command;
		*named = commands[i].named;
		return 0;
	}
	return -EINVAL;
}

/* A missing member is false. */
static int read_flag(struct json_object *object, const char *member, bool *ret_flag)
{
	struct json_object *value = json_object_object_get(object, member);

	if (value && !json_object_is_type(value, json_type_boolean))
		return -EINVAL;
	*ret_flag = json_object_get_boolean(value);
	return 0;
}

static int read_name(struct json_object *object, char name[LIMIT_NAME + 1])
{
	struct json_object *value = json_object_object_get(object, "name");
	size_t len;

	if (!json_object_is_type(value, json_type_string))
		return -EINVAL;
	len = (size_t)json_object_get_string_len(value);
	if (len == 0 || len > LIMIT_NAME || strlen(json_object_get_string(value)) != len)
		return -EINVAL;
	memcpy(name, json_object_get_string(value), len + 1);
	return 0;
}

static int refuse(struct json_object *object, char *error, size_t size, const char *why)
{
	json_object_put(object);
	(void)snprintf(error, size, "%s", why);
	return -EINVAL;
}

int control_request_parse(const char *line, size_t len, struct control_request *ret_request,
			  char *error, size_t error_size)
{
	struct json_object *object = parse_object(line, len);
	struct control_request request = {0};
	bool named = false;

	if (!object)
		return refuse(NULL, error, error_size, "the request is not a JSON object");
	if (read_command(object, &request, &named) < 0)
		return refuse(object, error, error_size,
			      "\"command\" must be list, wait, monitor, eject or upgrade");
	if (named && read_name(object, request.name) < 0)
		return refuse(object, error, error_size, "\"name\" must be a directory name");
	if (read_flag(object, "all", &request.all) < 0 ||
	    read_flag(object, "force", &request.force) < 0 ||
	    read_flag(object, "power_off", &request.power_off) < 0)
		return refuse(object, error, error_size,
			      "\"all\", \"force\" and \"power_off\" must be true or false");
	json_object_put(object);
	*ret_request = request;
	return 0;
}
