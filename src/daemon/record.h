/*
 * Structs as JSON objects and back, by tables of their members: what one program writes another
 * one, of another version, reads or refuses. Pure.
 */
#pragma once

#include <json-c/json.h>

#include "base/util.h"

enum record_kind {
	RECORD_NUMBER, /* an integer of 4 or 8 bytes, an enum */
	RECORD_BOOL,
	RECORD_TEXT, /* in an array of characters; any bytes but NUL */
};

struct record_field {
	const char *name;
	enum record_kind kind;
	size_t offset;
	size_t size;
};

#define RECORD_FIELD(type, kind, name, member)                                     \
	{                                                                          \
		name, kind, offsetof(type, member), sizeof(((type *)NULL)->member) \
	}

/* Adds all members of object to a JSON object. Returns 0 or -ENOMEM. */
int record_pack(const struct record_field *fields, size_t count, const void *object,
		struct json_object *into);

/*
 * Sets all members of object, zeroed before. Returns 0; or -EBADMSG when one is missing, has
 * another type or does not fit: ret_name says which (static storage).
 */
int record_unpack(const struct record_field *fields, size_t count, struct json_object *from,
		  void *object, const char **ret_name);

/* Adds a member, which becomes the callee's (NULL: out of memory). Returns 0 or -ENOMEM. */
int record_add(struct json_object *into, const char *name, struct json_object *member);
