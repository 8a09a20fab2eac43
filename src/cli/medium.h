/* Members of a MEDIUM object (daemon/control.h) as text, and texts as JSON. */
#pragma once

#include <json-c/json.h>

#include "cli/output.h"

/*
 * The operand as the name of a disk, to be freed: without the slash that the completion of a shell
 * puts after a directory. Returns EXIT_DONE; or, after a message, EXIT_USAGE if it is a path, or
 * EXIT_FAILED.
 */
enum exit_status medium_name(const struct arguments *args, char **ret_name);

/* A member's text, borrowed; "" if it is null or missing. */
const char *medium_text(struct json_object *medium, const char *member);
/* A member in bytes, for people; "" if it is null, missing or negative. */
struct size_text medium_size(struct json_object *medium, const char *member);
bool medium_is(struct json_object *medium, const char *member);

/*
 * A text of unknown origin as a JSON string, with U+FFFD for what is not UTF-8; null if it is "".
 */
struct json_object *json_text(const char *text);

/* An object or array with line breaks for people; borrowed from the object. */
const char *json_text_pretty(struct json_object *object);
/* Prints that on stdout. */
void json_print(struct json_object *object);

static inline void json_putp(struct json_object **object)
{
	json_object_put(*object);
	*object = NULL;
}
