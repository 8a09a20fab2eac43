#include "medium_json.h"

/* Length of the valid sequence at p (RFC 3629), or 0. */
static size_t utf8_length(const unsigned char *p)
{
	static const struct {
		unsigned char first_min, first_max;
		unsigned char second_min, second_max;
		size_t length;
	} forms[] = {
		{0x01, 0x7f, 0x00, 0xff, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (p[0] < forms[i].first_min || p[0] > forms[i].first_max)
			continue;
		if (forms[i].length > 1 &&
		    (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
			return 0;
		for (size_t k = 2; k < forms[i].length; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return forms[i].length;
	}
	return 0;
}

void text_to_utf8(const char *text, char *out)
{
	static const char replacement[] = "\xef\xbf\xbd";

	while (*text) {
		size_t n = utf8_length((const unsigned char *)text);

		memcpy(out, n > 0 ? text : replacement, n > 0 ? n : 3);
		out += n > 0 ? n : 3;
		text += n > 0 ? n : 1;
	}
	*out = '\0';
}

static int add_text(struct json_object *object, const char *key, const char *text)
{
	_cleanup_free_ char *valid = malloc(3 * strlen(text) + 1);
	struct json_object *value;

	if (!valid)
		return -ENOMEM;
	text_to_utf8(text, valid);
	value = json_object_new_string(valid);
	return value && json_object_object_add(object, key, value) == 0 ? 0 : -ENOMEM;
}

static int add_value(struct json_object *object, const char *key, struct json_object *value)
{
	return json_object_object_add(object, key, value) == 0 ? 0 : -ENOMEM;
}

static int add_texts(struct json_object *object, const struct medium *m)
{
	const struct {
		const char *key;
		const char *text;
	} texts[] = {
		{"state", medium_state_name(m)},
		{"reason", m->reason},
		{"fstype", m->probe.fstype},
		{"label", m->probe.label},
		{"uuid", m->probe.uuid},
		{"device", m->dev.kname},
		{"vendor", m->dev.vendor},
		{"model", m->dev.model},
		{"bus", blockdev_bus_name(m->dev.bus)},
		{"driver", m->driver ? m->driver->kernel_type : ""},
		{"options", m->options},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
		r = add_text(object, texts[i].key, texts[i].text);
	return r;
}

/* As far as it is known: after mount, and after each sync. */
static struct json_object *used_bytes(const struct medium *m)
{
	bool mounted = medium_in_use(m) || m->state == MEDIUM_CLOSING;

	if (!mounted || m->total_bytes < m->free_bytes)
		return NULL;
	return json_object_new_uint64(m->total_bytes - m->free_bytes);
}

static int fill(struct json_object *object, const struct medium *m, bool passthrough)
{
	bool named = m->view == MEDIUM_VISIBLE || m->view == MEDIUM_VANISHING;
	bool fenceable = m->driver && !m->driver->program &&
			 (m->driver->has_shutdown ||
			  !(m->dev.removable || m->dev.unknown_hardware));
	int r = named ? add_text(object, "name", m->name) : add_value(object, "name", NULL);

	if (r == 0)
		r = add_value(object, "shown", json_object_new_boolean(m->view == MEDIUM_VISIBLE));
	if (r == 0)
		r = add_texts(object, m);
	if (r == 0)
		r = add_value(object, "size_bytes", json_object_new_uint64(m->dev.size_bytes));
	if (r == 0)
		r = add_value(object, "used_bytes", used_bytes(m));
	if (r == 0)
		r = add_value(object, "read_only", json_object_new_boolean(m->read_only));
	if (r == 0)
		r = add_value(object, "passthrough",
			      json_object_new_boolean(passthrough && fenceable));
	return r;
}

struct json_object *medium_to_json(const struct medium *m, bool passthrough)
{
	struct json_object *object = json_object_new_object();

	if (object && fill(object, m, passthrough) < 0) {
		json_object_put(object);
		return NULL;
	}
	return object;
}
