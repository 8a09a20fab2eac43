#include "oci.h"

#include <json-c/json.h>
#include <stdio.h>

#include "base/input.h"

static void json_putp(struct json_object **object)
{
	json_object_put(*object);
	*object = NULL;
}

/* A member that is a text, borrowed; or NULL. */
static const char *text_of(struct json_object *object, const char *member)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, member, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

int oci_state_parse(const char *text, struct oci_state *ret_state)
{
	_cleanup_(json_putp) struct json_object *object = json_tokener_parse(text);
	struct oci_state state = {0};
	struct json_object *pid = NULL;
	const char *status = text_of(object, "status");
	const char *bundle = text_of(object, "bundle");
	int64_t number;

	if (!status || !bundle || !json_object_object_get_ex(object, "pid", &pid) ||
	    !json_object_is_type(pid, json_type_int))
		return -EBADMSG;
	number = json_object_get_int64(pid);
	if (number <= 0 || number > INT32_MAX || *bundle != '/' || !STR_COPY(state.bundle, bundle))
		return -EBADMSG;
	state.pid = (pid_t)number;
	state.started = streq(status, "running");
	*ret_state = state;
	return 0;
}

int oci_root_parse(const char *text, const char *bundle, char ret_root[PATH_MAX])
{
	_cleanup_(json_putp) struct json_object *object = json_tokener_parse(text);
	struct json_object *root = NULL;
	const char *path;
	int n;

	if (!json_object_object_get_ex(object, "root", &root))
		return -EBADMSG;
	path = text_of(root, "path");
	if (!path || !*path)
		return -EBADMSG;
	if (*path == '/')
		n = snprintf(ret_root, PATH_MAX, "%s", path);
	else
		n = snprintf(ret_root, PATH_MAX, "%s/%s", bundle, path);
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int oci_read(int fd, char **ret_text)
{
	_cleanup_free_ char *text = malloc(OCI_TEXT_MAX + 1);
	ssize_t n;

	if (!text)
		return -ENOMEM;
	n = input_read(fd, text, OCI_TEXT_MAX + 1);
	if (n < 0)
		return (int)n;
	if (n > OCI_TEXT_MAX)
		return -EFBIG;
	text[n] = '\0';
	*ret_text = TAKE_PTR(text);
	return 0;
}
