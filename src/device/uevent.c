#include "device/uevent.h"

#include <ctype.h>

struct parser {
	struct uevent event;
	const char *action;
	const char *devpath;
	const char *devname;
};

static bool parse_number(const char *text, uint64_t *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0';
}

static bool set_action(struct parser *parser, const char *value)
{
	parser->action = value;
	return true;
}

static bool set_devpath(struct parser *parser, const char *value)
{
	parser->devpath = value;
	return *value == '/';
}

static bool set_devname(struct parser *parser, const char *value)
{
	parser->devname = value;
	return true;
}

static bool set_subsystem(struct parser *parser, const char *value)
{
	return STR_COPY(parser->event.subsystem, value);
}

static bool set_devtype(struct parser *parser, const char *value)
{
	return STR_COPY(parser->event.devtype, value);
}

static bool set_seqnum(struct parser *parser, const char *value)
{
	return parse_number(value, &parser->event.seqnum);
}

static bool set_diskseq(struct parser *parser, const char *value)
{
	return parse_number(value, &parser->event.diskseq);
}

static bool set_media_change(struct parser *parser, const char *value)
{
	parser->event.media_change = streq(value, "1");
	return true;
}

static const struct {
	const char *key;
	bool (*set)(struct parser *parser, const char *value);
} keys[] = {
	{"ACTION", set_action},	  {"DEVPATH", set_devpath},
	{"DEVNAME", set_devname}, {"SUBSYSTEM", set_subsystem},
	{"DEVTYPE", set_devtype}, {"SEQNUM", set_seqnum},
	{"DISKSEQ", set_diskseq}, {"DISK_MEDIA_CHANGE", set_media_change},
};

/* What we do not know is left alone; false for a value that cannot be true. */
static bool parse_pair(struct parser *parser, const char *pair)
{
	const char *equals = strchr(pair, '=');
	size_t length = equals ? (size_t)(equals - pair) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strlen(keys[i].key) == length && memcmp(keys[i].key, pair, length) == 0)
			return keys[i].set(parser, equals + 1);
	return true;
}

static enum uevent_action action_parse(const char *text)
{
	static const char *const names[] = {
		[UEVENT_ADD] = "add",
		[UEVENT_REMOVE] = "remove",
		[UEVENT_CHANGE] = "change",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (streq(text, names[i]))
			return (enum uevent_action)i;
	return UEVENT_OTHER;
}

/* The first line repeats ACTION and DEVPATH: a message in which they differ is not the kernel's. */
static bool header_agrees(const char *header, const struct parser *parser)
{
	size_t length;

	if (!parser->action || !parser->devpath)
		return false;
	length = strlen(parser->action);
	return strncmp(header, parser->action, length) == 0 && header[length] == '@' &&
	       streq(header + length + 1, parser->devpath);
}

static bool set_kname(struct parser *parser)
{
	const char *base = strrchr(parser->devpath, '/') + 1;

	if (!parser->devname || !*parser->devname)
		return true;
	return STR_COPY(parser->event.kname, base) && *base && !streq(base, ".") &&
	       !streq(base, "..");
}

int uevent_parse(const char *buf, size_t len, struct uevent *ret_event)
{
	struct parser parser = {0};
	char text[LIMIT_UEVENT + 1];

	if (len == 0 || len > LIMIT_UEVENT)
		return -EBADMSG;
	memcpy(text, buf, len);
	text[len] = '\0'; /* the last pair need not be terminated */
	for (size_t at = strlen(text) + 1; at < len; at += strlen(text + at) + 1)
		if (!parse_pair(&parser, text + at))
			return -EBADMSG;
	if (!header_agrees(text, &parser) || !parser.event.subsystem[0] || !set_kname(&parser))
		return -EBADMSG;
	parser.event.action = action_parse(parser.action);
	*ret_event = parser.event;
	return 0;
}

ssize_t uevent_without_seqnum(const char *buf, size_t len, char *ret_buf, size_t size)
{
	static const char key[] = "SEQNUM=";
	size_t used = 0;

	for (size_t at = 0, length; at < len; at += length) {
		length = strnlen(buf + at, len - at);
		length += at + length < len; /* the NUL, which the last one may lack */
		if (length >= strlen(key) && memcmp(buf + at, key, strlen(key)) == 0)
			continue;
		if (used + length > size)
			return -EMSGSIZE;
		memcpy(ret_buf + used, buf + at, length);
		used += length;
	}
	return (ssize_t)used;
}
