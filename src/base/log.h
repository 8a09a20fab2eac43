/*
 * Messages to stderr; if that is the journal, each with the "<N>" syslog priority that journald
 * understands. Any thread may log. Leaf modules log at debug only; whoever decides what a failure
 * means logs it, once.
 */
#pragma once

#include "util.h"

enum log_level {
	LOG_LEVEL_ERR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6,
	LOG_LEVEL_DEBUG = 7,
	LOG_LEVEL_INVALID = -EINVAL,
};

/* Sets the highest level that is printed. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);

/* Whether messages of this level are printed: guards expensive arguments. */
bool log_enabled(enum log_level level);

/* "error", "warning", "notice", "info", "debug" -> level, or LOG_LEVEL_INVALID. Pure. */
enum log_level log_level_parse(const char *text);

/*
 * Prints the prefix only for the journal: elsewhere it would be noise. Keeps errno.
 * A message is one write(2), so that lines of several processes do not mix.
 */
void log_write(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_err(...)	 log_write(LOG_LEVEL_ERR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)	 log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)	 log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                           \
	do {                                                     \
		if (log_enabled(LOG_LEVEL_DEBUG))                \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__); \
	} while (0)

struct log_quoted {
	char text[1100];
};

/*
 * A text from a disk or a client, made safe for a terminal and a log: in double quotes, with
 * every byte that is not printable ASCII, every quote and every backslash as \xNN. Cut with
 * "..." when it is long. Use as: log_info("label %s", QUOTE(label)).
 */
struct log_quoted log_quote(const char *text);
#define QUOTE(s) (log_quote(s).text)

/* The name of a positive errno ("EIO"), or "errno N". Static or thread-local storage. */
const char *errno_name(int err);
