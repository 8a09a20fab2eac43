/* The configuration that a command line means: defaults, then the file, then the options. */
#pragma once

#include "base/util.h"
#include "cli/command.h"
#include "device/config.h"

#define CONFIG_FILE_DEFAULT "/etc/hotplugfs.conf"

/*
 * Makes the configuration. --config FILE must be there; the default file may be missing.
 * Returns 0, or -errno with one line in error.
 */
int settings_load(const struct arguments *args, struct config **ret_config, char *error,
		  size_t error_size);

/*
 * The same for a command that starts: a mistake on the command line is told before any file is
 * read. Returns EXIT_DONE; or EXIT_USAGE or EXIT_FAILED after a line on stderr.
 */
enum exit_status settings_get(const struct arguments *args, struct config **ret_config);
