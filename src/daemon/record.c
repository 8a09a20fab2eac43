#include "record.h"

#include <assert.h>

int record_add(struct json_object *into, const char *name, struct json_object *member)
{
	if (member && json_object_object_add(into, name, member) == 0)
		return 0;
	json_object_put(member);
	return -ENOMEM;
}

/* Numbers of 4 bytes are signed; those that are not come back as the same bits. */
static int64_t number_get(const void *at, size_t size)
{
	int32_t small;
	int64_t large;

	assert(size == sizeof(small) || size == sizeof(large));
	if (size == sizeof(large)) {
		memcpy(&large, at, sizeof(large));
		return large;
	}
	memcpy(&small, at, sizeof(small));
	return small;
}

static int number_set(void *at, size_t size, int64_t value)
{
	int32_t small = (int32_t)value;

	if (size == sizeof(value)) {
		memcpy(at, &value, sizeof(value));
		return 0;
	}
	if (small != value)
		return -EBADMSG;
	memcpy(at, &small, sizeof(small));
	return 0;
}

static struct json_object *pack_field(const struct record_field *field, const void *at)
{
	switch (field->kind) {
	case RECORD_NUMBER:
		return json_object_new_int64(number_get(at, field->size));
	case RECORD_BOOL:
		return json_object_new_boolean(*(const bool *)at);
	case RECORD_TEXT:
		return json_object_new_string(at);
	}
	return NULL;
}

static int unpack_text(struct json_object *value, char *at, size_t size)
{
	size_t len = (size_t)json_object_get_string_len(value);
	const char *text = json_object_get_string(value);

	if (len >= size || strlen(text) != len)
		return -EBADMSG;
	memcpy(at, text, len + 1);
	return 0;
}

static int unpack_field(const struct record_field *field, struct json_object *value, void *at)
{
	static const enum json_type types[] = {[RECORD_NUMBER] = json_type_int,
					       [RECORD_BOOL] = json_type_boolean,
					       [RECORD_TEXT] = json_type_string};

	if (!json_object_is_type(value, types[field->kind]))
		return -EBADMSG;
	switch (field->kind) {
	case RECORD_NUMBER:
		return number_set(at, field->size, json_object_get_int64(value));
	case RECORD_BOOL:
		*(bool *)at = json_object_get_boolean(value);
		return 0;
	case RECORD_TEXT:
		return unpack_text(value, at, field->size);
	}
	return -EBADMSG;
}

int record_pack(const struct record_field *fields, size_t count, const void *object,
		struct json_object *into)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < count; i++)
		r = record_add(into, fields[i].name,
			       pack_field(&fields[i], (const char *)object + fields[i].offset));
	return r;
}

int record_unpack(const struct record_field *fields, size_t count, struct json_object *from,
		  void *object, const char **ret_name)
{
	for (size_t i = 0; i < count; i++) {
		struct json_object *value = NULL;

		if (json_object_is_type(from, json_type_object))
			(void)json_object_object_get_ex(from, fields[i].name, &value);
		*ret_name = fields[i].name;
		if (unpack_field(&fields[i], value, (char *)object + fields[i].offset) < 0)
			return -EBADMSG;
	}
	return 0;
}
