/* What the commands print: errors on stderr, results on stdout, safe for a terminal. */
#pragma once

#include "base/util.h"
#include "cli/command.h"

/* Chooses the character set for text_escape(). To be called once, first. */
void output_init(void);

/* What a positive errno means. Static storage. */
const char *error_text(int err);

/* One line on stderr: "hotplugfs COMMAND: message". command may be NULL. */
void error_print(const struct command *command, const char *fmt, ...) _printf_(2, 3);
/* The same for a wrong command line: ", see hotplugfs COMMAND --help" is added. */
void usage_print(const struct command *command, const char *fmt, ...) _printf_(2, 3);

/*
 * Writes out what stdout holds. Returns 0; or -errno when it did not get there (a full disk), after
 * saying so on stderr; -EPIPE, when nobody reads it, without a word.
 */
int output_flush(const struct command *command);

/*
 * A text of unknown origin for a terminal: control characters, invisible and direction-changing
 * ones, and bytes that are no characters become \xNN. The result is the caller's to free, NULL
 * without memory. ret_width: columns that it takes; may be NULL.
 */
char *text_escape(const char *text, size_t *ret_width);

struct size_text {
	char text[24];
};
/* "512 B", "3.9 GiB": at most one decimal, binary units. Pure. */
struct size_text size_format(uint64_t bytes);
