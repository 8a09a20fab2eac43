/*
 * Command lines. Each command has a table of its options; parsing and --help are both made from
 * it, so that they cannot differ.
 */
#pragma once

#include <stdio.h>

#include "base/util.h"

struct command;

struct option_spec {
	const char *name;    /* long name, without the dashes */
	char letter;	     /* short form, or 0 */
	const char *value;   /* what its value is called in --help; NULL: a flag */
	const char *help;    /* for --help; a newline starts another line */
	const char *setting; /* name for config_set(), or NULL: not a setting */
	const char *implied; /* the setting's value when a flag is given */
};

#define OPTION_END \
	{          \
	}

/* Options that several commands have. */
#define OPTION_JSON                                            \
	{                                                      \
		.name = "json", .help = "print JSON, not text" \
	}
#define OPTION_SOCKET                                                                    \
	{                                                                                \
		.name = "socket", .value = "PATH",                                       \
		.help = "control socket of the daemon\n"                                 \
			"(default: $HOTPLUGFS_SOCKET, else " CONTROL_SOCKET_DEFAULT ")", \
	}
#define OPTION_CONFIG                                                                           \
	{                                                                                       \
		.name = "config", .value = "FILE",                                              \
		.help = "configuration file (default: " CONFIG_FILE_DEFAULT " if there is one)" \
	}
#define OPTION_INCLUDE                                                                     \
	{                                                                                  \
		.name = "include", .value = "GLOB", .setting = "include",                  \
		.help = "show devices whose kernel name matches, also if not removable;\n" \
			"may be repeated"                                                  \
	}
#define OPTION_EXCLUDE                                                                  \
	{                                                                               \
		.name = "exclude", .value = "GLOB", .setting = "exclude",               \
		.help = "never show devices whose kernel name matches; may be repeated" \
	}
#define OPTION_DEV                                                               \
	{                                                                        \
		.name = "dev", .value = "DIR", .setting = "dev",                 \
		.help = "directory with the host's device nodes (default: /dev)" \
	}
#define OPTION_EVENTS                                                         \
	{                                                                     \
		.name = "events", .value = "SOURCE", .setting = "events",     \
		.help = "where events come from: auto, udev, kernel, fd:N,\n" \
			"unix:PATH (hotplugfs relay), inotify"                \
	}

/* An option as it was given. */
struct argument {
	const struct option_spec *spec;
	const char *value; /* borrowed from argv; NULL for a flag */
};

/* A parsed command line. */
struct arguments {
	const struct command *command;
	struct argument *given; /* in the order of the command line */
	size_t given_count;
	const char *operand; /* borrowed from argv; NULL if the command takes none */
	char **tail;	     /* what followed "--", borrowed from argv, with a NULL at its end;
				NULL if the command has none */
};

enum options_outcome {
	OPTIONS_RUN,	 /* the command is to be run */
	OPTIONS_HELP,	 /* --help was given */
	OPTIONS_VERSION, /* --version was given */
};

/*
 * Parses argv[1..] of a command (argv[0] is its name). Returns an options_outcome; or -EINVAL
 * with one line in error (no prefix, no newline), or -ENOMEM. ret_args is to be given to
 * arguments_done() in every case. argv, which ends with a NULL, is permuted. Not thread-safe.
 */
int options_parse(const struct command *command, int argc, char **argv, struct arguments *ret_args,
		  char *error, size_t error_size);
void arguments_done(struct arguments *args);

/* Whether an option was given. Pure. */
bool arguments_has(const struct arguments *args, const char *name);
/* The value of an option, the last one if it was repeated, or NULL. Pure. */
const char *arguments_value(const struct arguments *args, const char *name);

/* Prints what --help shows for a command. */
void options_help(const struct command *command, FILE *out);
