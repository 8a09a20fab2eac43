#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

static _Atomic int max_level = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	enum log_level level;
} level_names[] = {
	{"error", LOG_LEVEL_ERR}, {"warning", LOG_LEVEL_WARNING}, {"notice", LOG_LEVEL_NOTICE},
	{"info", LOG_LEVEL_INFO}, {"debug", LOG_LEVEL_DEBUG},
};

void log_set_level(enum log_level level)
{
	max_level = (int)level;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= max_level;
}

enum log_level log_level_parse(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++)
		if (streq(text, level_names[i].name))
			return level_names[i].level;
	return LOG_LEVEL_INVALID;
}

/*
 * Whether stderr is the journal, which takes the priority off the line again (systemd.exec(5)).
 * Looked at each time: it may be another file by now.
 */
static bool is_journal(void)
{
	const char *text = secure_getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;
	char *end;

	if (!text)
		return false;
	dev = strtoull(text, &end, 10);
	if (end == text || *end != ':')
		return false;
	text = end + 1;
	ino = strtoull(text, &end, 10);
	return end != text && !*end && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
	       st.st_ino == ino;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[2048];
	int saved = errno;
	int used = 0;
	int n;
	va_list args;

	if (!log_enabled(level))
		return;
	if (is_journal())
		used = snprintf(line, sizeof(line), "<%d>", (int)level);
	errno = saved; /* for %m */
	va_start(args, fmt);
	n = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, fmt, args);
	va_end(args);
	if (n < 0)
		n = 0;
	used += MIN(n, (int)sizeof(line) - used - 2);
	line[used++] = '\n';
	(void)!write(STDERR_FILENO, line, (size_t)used);
	errno = saved;
}

struct log_quoted log_quote(const char *text)
{
	struct log_quoted out;
	size_t n = 0;

	out.text[n++] = '"';
	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (n > sizeof(out.text) - 10) {
			memcpy(out.text + n, "...", 3);
			n += 3;
			break;
		}
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
			out.text[n++] = (char)c;
		else
			n += (size_t)snprintf(out.text + n, 5, "\\x%02x", c);
	}
	out.text[n++] = '"';
	out.text[n] = '\0';
	return out;
}

const char *errno_name(int err)
{
	static _Thread_local char number[24];
	const char *name = strerrorname_np(err);

	if (name)
		return name;
	(void)snprintf(number, sizeof(number), "errno %d", err);
	return number;
}
