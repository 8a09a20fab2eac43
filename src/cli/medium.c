#include "cli/medium.h"

#include <stdio.h>

#include "base/log.h"
#include "daemon/medium_json.h"

enum exit_status medium_name(const struct arguments *args, char **ret_name)
{
	_cleanup_free_ char *name = strdup(args->operand);
	size_t length = strlen(args->operand);

	if (!name) {
		error_print(args->command, "out of memory");
		return EXIT_FAILED;
	}
	if (length > 1 && name[length - 1] == '/')
		name[length - 1] = '\0';
	if (strchr(name, '/')) {
		usage_print(args->command, "%s is a path; %s is a name that list tells",
			    QUOTE(args->operand), args->command->operand);
		return EXIT_USAGE;
	}
	*ret_name = TAKE_PTR(name);
	return EXIT_DONE;
}

const char *medium_text(struct json_object *medium, const char *member)
{
	struct json_object *value = json_object_object_get(medium, member);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

struct size_text medium_size(struct json_object *medium, const char *member)
{
	struct json_object *value = json_object_object_get(medium, member);

	if (!json_object_is_type(value, json_type_int))
		return (struct size_text){""};
	return size_format(json_object_get_uint64(value));
}

bool medium_is(struct json_object *medium, const char *member)
{
	return json_object_get_boolean(json_object_object_get(medium, member));
}

struct json_object *json_text(const char *text)
{
	size_t size = 3 * strlen(text) + 1;
	_cleanup_free_ char *valid = malloc(size);

	if (!valid || size == 1)
		return NULL;
	text_to_utf8(text, valid);
	return json_object_new_string(valid);
}

const char *json_text_pretty(struct json_object *object)
{
	return json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							      JSON_C_TO_STRING_SPACED |
							      JSON_C_TO_STRING_NOSLASHESCAPE);
}

void json_print(struct json_object *object)
{
	(void)puts(json_text_pretty(object));
}
