/* The option --view of commands that hand the view on. */
#pragma once

#include "cli/command.h"

/* Where README.md, the service and the examples have it. */
#define VIEW_DEFAULT "/run/hotplugfs/media"

#define OPTION_VIEW                                                              \
	{                                                                        \
		.name = "view", .value = "DIR",                                  \
		.help = "where the daemon's view is (default: " VIEW_DEFAULT ")" \
	}

/*
 * The view of the command line, absolute, without links above it, to be freed. What is mounted
 * there is not looked at. Returns EXIT_DONE, or EXIT_FAILED after a message.
 */
enum exit_status view_path(const struct arguments *args, char **ret_path);
