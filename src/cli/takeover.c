#include "cli/takeover.h"

#include <stdio.h>

#include "cli/output.h"
#include "cli/serve.h"
#include "cli/settings.h"
#include "daemon/handover.h"

static enum exit_status refuse(const char *what)
{
	error_print(NULL, "%s", what);
	return EXIT_FAILED;
}

/* The command line and the configuration would be read as at any start. */
static enum exit_status settings_try(const struct command *command, int argc, char **argv)
{
	_cleanup_(arguments_done) struct arguments args = {0};
	_cleanup_(config_freep) struct config *config = NULL;
	char error[1400] = "";
	int r = options_parse(command, argc, argv, &args, error, sizeof(error));

	if (r == OPTIONS_RUN)
		r = settings_load(&args, &config, error, sizeof(error));
	return r < 0 ? refuse(*error ? error : "out of memory") : EXIT_DONE;
}

enum exit_status takeover_try(const char *fd, const struct command *command, int argc, char **argv)
{
	_cleanup_(handover_freep) struct handover *handover = NULL;
	char error[256] = "";
	char *end;
	long number = strtol(fd, &end, 10);
	enum exit_status status;

	if (*end || number < 0 || number > INT_MAX)
		return refuse("a number of a descriptor is needed");
	if (handover_read((int)number, &handover, error, sizeof(error)) < 0)
		return refuse(error);
	status = settings_try(command, argc, argv);
	if (status == EXIT_DONE)
		(void)puts(HANDOVER_ANSWER HOTPLUGFS_VERSION);
	return status;
}
