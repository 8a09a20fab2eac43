#include "cli/settings.h"

#include <stdio.h>

#include "base/log.h"
#include "cli/output.h"
#include "staging/drivers.h"

static int apply(const struct argument *arg, struct config *config, char *error, size_t error_size)
{
	const struct option_spec *spec = arg->spec;
	char what[512] = "";
	int r;

	if (!spec->setting)
		return 0;
	r = config_set(config, spec->setting, arg->value ? arg->value : spec->implied, what,
		       sizeof(what));
	if (r == -ENOMEM)
		(void)snprintf(error, error_size, "out of memory");
	else if (r < 0)
		(void)snprintf(error, error_size, "--%s: %s", spec->name,
			       *what ? what : error_text(-r));
	return r;
}

static int apply_all(const struct arguments *args, struct config *config, char *error,
		     size_t error_size)
{
	for (size_t i = 0; i < args->given_count; i++) {
		int r = apply(&args->given[i], config, error, error_size);

		if (r < 0)
			return r;
	}
	return 0;
}

static int config_make(const struct arguments *args, struct config **ret_config, char *error,
		       size_t error_size)
{
	int r = config_new(ret_config);

	if (r < 0)
		(void)snprintf(error, error_size, "out of memory");
	else if (args->command->log_level)
		(*ret_config)->log_level = args->command->log_level;
	return r;
}

/* Applies the options to a configuration that is thrown away. */
static int check(const struct arguments *args, char *error, size_t error_size)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r = config_make(args, &config, error, error_size);

	return r < 0 ? r : apply_all(args, config, error, error_size);
}

/* src/device/ knows no drivers, so options that no filesystem takes are found here. */
static int options_refuse(const struct config *config, char *error, size_t error_size)
{
	char option[128];

	for (const struct config_rule *rule = config->rules; rule; rule = rule->next) {
		if (!rule->options ||
		    options_check(NULL, rule->options, option, sizeof(option)) == 0)
			continue;
		(void)snprintf(error, error_size,
			       "%s:%u: options: %s is not allowed for any filesystem; "
			       "hotplugfs.conf(5) lists those that are",
			       config->file, rule->options_line, QUOTE(option));
		return -EINVAL;
	}
	return 0;
}

static int file_read(const struct arguments *args, struct config *config, char *error,
		     size_t error_size)
{
	const char *path = arguments_value(args, "config");
	int r;

	if (!path && access(CONFIG_FILE_DEFAULT, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = config_read_file(config, path ? path : CONFIG_FILE_DEFAULT, error, error_size);
	return r < 0 ? r : options_refuse(config, error, error_size);
}

int settings_load(const struct arguments *args, struct config **ret_config, char *error,
		  size_t error_size)
{
	_cleanup_(config_freep) struct config *config = NULL;
	int r = config_make(args, &config, error, error_size);

	if (r < 0)
		return r;
	r = file_read(args, config, error, error_size);
	if (r == 0)
		r = apply_all(args, config, error, error_size);
	if (r < 0)
		return r;
	*ret_config = TAKE_PTR(config);
	return 0;
}

enum exit_status settings_get(const struct arguments *args, struct config **ret_config)
{
	char error[1400] = "";

	if (check(args, error, sizeof(error)) < 0) {
		usage_print(args->command, "%s", error);
		return EXIT_USAGE;
	}
	if (settings_load(args, ret_config, error, sizeof(error)) < 0) {
		error_print(args->command, "%s", error);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}
