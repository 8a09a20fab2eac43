/* What a subcommand is: its name, its command line, and the function that does it. */
#pragma once

#include "base/util.h"
#include "cli/options.h"

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2, /* the command line is wrong; nothing was done */
};

struct command {
	const char *name;
	const char *operand;		   /* name of its one operand, or NULL: it takes none */
	const char *summary;		   /* one line */
	const char *notes;		   /* printed by --help after the options, or NULL */
	const struct option_spec *options; /* up to OPTION_END; --help and --version come along */
	enum exit_status (*run)(const struct arguments *args);
};

extern const struct command command_mount;
extern const struct command command_list;
extern const struct command command_wait;
extern const struct command command_monitor;
extern const struct command command_eject;
extern const struct command command_probe;
extern const struct command command_doctor;
