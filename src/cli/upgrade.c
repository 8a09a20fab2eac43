/* hotplugfs upgrade: the program that is installed now takes the place of the running one. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/output.h"
#include "daemon/control.h"

static const struct option_spec options[] = {
	OPTION_SOCKET,
	OPTION_END,
};

static enum exit_status upgrade_run(const struct arguments *args)
{
	_cleanup_(client_freep) struct client *client = NULL;
	_cleanup_(json_putp) struct json_object *request = client_request("upgrade");
	_cleanup_(json_putp) struct json_object *answer = NULL;
	_cleanup_free_ char *version = NULL;

	if (client_open(args, &client) < 0)
		return EXIT_FAILED;
	/* The daemon has the deadlines. */
	if (client_call(client, request, CLIENT_FOREVER, &answer) < 0)
		return EXIT_FAILED;
	version = text_escape(medium_text(answer, "version"), NULL);
	(void)printf("hotplugfs %s has taken over\n", version ? version : "");
	return EXIT_DONE;
}

const struct command command_upgrade = {
	.name = "upgrade",
	.summary = "Let the program that is installed now go on in the daemon's place.",
	.notes = "Nothing is unmounted, open files stay open, and the process keeps its number. If "
		 "the\n"
		 "new program cannot take over, the old one goes on.",
	.options = options,
	.run = upgrade_run,
};
