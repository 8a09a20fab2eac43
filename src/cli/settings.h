/* The configuration that a command line means: defaults, then the file, then the options. */
#pragma once

#include "base/util.h"
#include "cli/options.h"
#include "device/config.h"

#define CONFIG_FILE_DEFAULT "/etc/hotplugfs.conf"

/*
 * Checks the settings on the command line alone, so that a mistake there is told before any file
 * is read. Returns 0, -EINVAL with one line in error, or -ENOMEM.
 */
int settings_check(const struct arguments *args, char *error, size_t error_size);

/*
 * Makes the configuration. --config FILE must be there; the default file may be missing.
 * Returns 0, or -errno with one line in error.
 */
int settings_load(const struct arguments *args, struct config **ret_config, char *error,
		  size_t error_size);
