#include "device/config_values.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "device/names.h"

int config_setting_find(const struct config_setting *table, size_t count, const char *key,
			char *error, size_t error_size)
{
	int used;

	for (size_t i = 0; i < count; i++)
		if (streq(table[i].key, key))
			return (int)i;
	used = snprintf(error, error_size, "unknown setting %s; there are", QUOTE(key));
	for (size_t i = 0; i < count && used > 0 && (size_t)used < error_size; i++)
		used += snprintf(error + used, error_size - (size_t)used, "%s %s", i ? "," : "",
				 table[i].key);
	return -ENOENT;
}

static int invalid(const char *value, const char *wanted, char *error, size_t error_size)
{
	(void)snprintf(error, error_size, "%s is not %s", QUOTE(value), wanted);
	return -EINVAL;
}

/* Returns 0 or 1, or -EINVAL. */
static int parse_yes_no(const char *value, char *error, size_t error_size)
{
	static const char *const words[][2] = {
		{"no", "yes"}, {"false", "true"}, {"off", "on"}, {"0", "1"}};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		for (int yes = 0; yes < 2; yes++)
			if (strcasecmp(value, words[i][yes]) == 0)
				return yes;
	return invalid(value, "yes or no", error, error_size);
}

int config_parse_bool(const char *value, void *field, char *error, size_t error_size)
{
	int r = parse_yes_no(value, error, error_size);

	if (r >= 0)
		*(bool *)field = r == 1;
	return MIN(r, 0);
}

int config_parse_tristate(const char *value, void *field, char *error, size_t error_size)
{
	int r = parse_yes_no(value, error, error_size);

	if (r >= 0)
		*(int *)field = r;
	return MIN(r, 0);
}

int duration_parse(const char *text, uint64_t *ret_ms)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
	const uint64_t longest_ms = 366ull * 24 * 3600000; /* far from any overflow in a timer */
	uint64_t n;
	char *end;

	if (streq(text, "never")) {
		*ret_ms = 0;
		return 0;
	}
	if (!isdigit((unsigned char)*text) || strlen(text) > 16)
		return -EINVAL;
	n = strtoull(text, &end, 10);
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		if (!streq(end, units[i].unit))
			continue;
		if (n > longest_ms / units[i].ms)
			return -EINVAL;
		*ret_ms = n * units[i].ms;
		return 0;
	}
	return -EINVAL;
}

int config_parse_duration(const char *value, void *field, char *error, size_t error_size)
{
	uint64_t ms;

	/* 0 of something would be at once, and a wish for never is to be told from a slip */
	if (duration_parse(value, &ms) < 0 || (ms == 0 && !streq(value, "never")))
		return invalid(value,
			       "a time such as 10, 500ms, 2s, 5min or 1h, more than 0, or never",
			       error, error_size);
	*(uint64_t *)field = ms;
	return 0;
}

int config_parse_deadline(const char *value, void *field, char *error, size_t error_size)
{
	uint64_t ms;

	if (duration_parse(value, &ms) < 0 || ms == 0)
		return invalid(value, "a time such as 10, 500ms, 2s or 5min, more than 0", error,
			       error_size);
	*(uint64_t *)field = ms;
	return 0;
}

int config_parse_owner(const char *value, void *field, char *error, size_t error_size)
{
	return owner_parse(value, field, error, error_size);
}

static bool parse_fd(const char *text, int *ret_fd)
{
	size_t length = strlen(text);

	if (length == 0 || length > 6 || strspn(text, "0123456789") != length)
		return false;
	*ret_fd = atoi(text); /* NOLINT(cert-err34-c): nothing but a few digits */
	return *ret_fd > STDERR_FILENO;
}

int config_parse_events(const char *value, void *field, char *error, size_t error_size)
{
	static const char *const names[] = {
		[EVENTS_AUTO] = "auto",
		[EVENTS_UDEV] = "udev",
		[EVENTS_KERNEL] = "kernel",
		[EVENTS_INOTIFY] = "inotify",
	};
	struct events_setting events = {.kind = EVENTS_AUTO, .fd = -EBADF};
	bool known = false;

	for (size_t i = 0; !known && i < ARRAY_SIZE(names); i++) {
		known = names[i] && streq(value, names[i]);
		events.kind = (enum events_kind)i;
	}
	if (!known && strncmp(value, "fd:", 3) == 0) {
		events.kind = EVENTS_FD;
		known = parse_fd(value + 3, &events.fd);
	} else if (!known && strncmp(value, "unix:", 5) == 0) {
		events.kind = EVENTS_UNIX;
		known = value[5] == '/' && STR_COPY(events.path, value + 5);
	}
	if (!known)
		return invalid(value,
			       "auto, udev, kernel, fd:N (more than 2), unix:PATH (absolute) or "
			       "inotify",
			       error, error_size);
	*(struct events_setting *)field = events;
	return 0;
}

int config_parse_durability(const char *value, void *field, char *error, size_t error_size)
{
	static const char *const names[] = {
		[DURABILITY_LAZY] = "lazy",
		[DURABILITY_CLOSE] = "close",
		[DURABILITY_STRICT] = "strict",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (streq(value, names[i])) {
			*(enum durability *)field = (enum durability)i;
			return 0;
		}
	}
	return invalid(value, "lazy, close or strict", error, error_size);
}

int config_parse_log_level(const char *value, void *field, char *error, size_t error_size)
{
	enum log_level level = log_level_parse(value);

	if (level == LOG_LEVEL_INVALID)
		return invalid(value, "error, warning, notice, info or debug", error, error_size);
	*(enum log_level *)field = level;
	return 0;
}

int config_parse_text(const char *value, void *field, char *error, size_t error_size)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*(char **)field);
	*(char **)field = copy;
	return 0;
}

int config_parse_path(const char *value, void *field, char *error, size_t error_size)
{
	if (!*value)
		return invalid(value, "a path", error, error_size);
	return config_parse_text(value, field, error, error_size);
}

int config_parse_glob(const char *value, void *field, char *error, size_t error_size)
{
	if (!*value)
		return invalid(value, "a pattern; * matches everything", error, error_size);
	return config_parse_text(value, field, error, error_size);
}

int config_parse_name(const char *value, void *field, char *error, size_t error_size)
{
	char safe[LIMIT_NAME + 1];

	name_sanitize(value, safe);
	if (!*value || !streq(value, safe))
		return invalid(value, "usable as the name of a directory", error, error_size);
	return config_parse_text(value, field, error, error_size);
}

int config_parse_options(const char *value, void *field, char *error, size_t error_size)
{
	if (!*value || strlen(value) >= LIMIT_OPTIONS)
		return invalid(value, "a list of mount options", error, error_size);
	return config_parse_text(value, field, error, error_size);
}

static int append_glob(struct config_globs *list, const char *glob, size_t length)
{
	char **globs = reallocarray(list->globs, list->count + 1, sizeof(*globs));

	if (!globs)
		return -ENOMEM;
	list->globs = globs;
	globs[list->count] = strndup(glob, length);
	if (!globs[list->count])
		return -ENOMEM;
	list->count++;
	return 0;
}

int config_parse_globs(const char *value, void *field, char *error, size_t error_size)
{
	static const char separators[] = ", \t";
	const char *p = value + strspn(value, separators);
	int r = 0;

	if (!*p || strpbrk(value, "/#")) /* # would be a comment, which has a line of its own */
		return invalid(value, "a kernel name such as sdb1, or a pattern such as loop*",
			       error, error_size);
	while (r == 0 && *p) {
		size_t length = strcspn(p, separators);

		r = append_glob(field, p, length);
		p += length;
		p += strspn(p, separators);
	}
	return r;
}
