/* What a subcommand is: its name, its command line, and the function that does it. */
#pragma once

#include "base/log.h"
#include "base/util.h"
#include "cli/options.h"

enum exit_status {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2, /* the command line is wrong; nothing was done */
};

struct command {
	const char *name;
	const char *operand;	     /* name of its one operand, or NULL: it takes none */
	const char *operand_default; /* what it is when left out, or NULL: it must be there */
	const char *tail;    /* what must follow "--", or NULL: "--" means nothing special */
	const char *summary; /* one line */
	const char *notes;   /* printed by --help after the options, or NULL */
	const struct option_spec *options; /* up to OPTION_END; --help and --version come along */
	const struct option_spec
		*shared;	  /* more options, which another command has, too; or NULL */
	enum log_level log_level; /* the default, or 0: that of the configuration */
	enum exit_status (*run)(const struct arguments *args);
};

extern const struct command command_mount;
extern const struct command command_run;
extern const struct command command_list;
extern const struct command command_wait;
extern const struct command command_monitor;
extern const struct command command_eject;
extern const struct command command_probe;
extern const struct command command_doctor;
extern const struct command command_attach;
extern const struct command command_detach;
extern const struct command command_cdi;
extern const struct command command_hook;
extern const struct command command_relay;
extern const struct command command_upgrade;
