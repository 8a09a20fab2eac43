#include "cli/medium.h"

#include <stdio.h>

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

/* How many bytes a character takes that starts here; 0: this is no UTF-8 (RFC 3629). */
static size_t utf8_length(const char *text)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)text;
	size_t length = *p < 0x80	? 1
			: *p >> 5 == 6	? 2
			: *p >> 4 == 14 ? 3
			: *p >> 3 == 30 ? 4
					: 0;
	uint32_t code;

	if (length < 2)
		return length;
	code = *p & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		code = code << 6 | (p[i] & 0x3fu);
	}
	if (code < smallest[length] || code > 0x10ffff || code >> 11 == 0x1b)
		return 0;
	return length;
}

struct json_object *json_text(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	size_t most = strlen(text) * 3; /* every byte replaced */
	_cleanup_free_ char *valid = most ? malloc(most) : NULL;
	size_t used = 0;

	if (!valid)
		return NULL;
	while (*text) {
		size_t length = utf8_length(text);

		memcpy(valid + used, length ? text : replacement, length ? length : 3);
		used += length ? length : 3;
		text += length ? length : 1;
	}
	return json_object_new_string_len(valid, (int)used);
}

void json_print(struct json_object *object)
{
	(void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
								  JSON_C_TO_STRING_SPACED |
								  JSON_C_TO_STRING_NOSLASHESCAPE));
}
