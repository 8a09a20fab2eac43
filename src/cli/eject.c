/* hotplugfs eject: make a disk safe to pull. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "daemon/control.h"

static const struct option_spec options[] = {
	{.name = "force", .letter = 'f', .help = "cut off whoever still has files open on it"},
	{.name = "power-off",
	 .letter = 'p',
	 .help = "eject all disks of the device, then switch it off: USB, SCSI, SATA"},
	OPTION_SOCKET,
	OPTION_END,
};

static int add_flag(struct json_object *request, const char *member, bool flag)
{
	return json_object_object_add(request, member, json_object_new_boolean(flag));
}

static int request_fill(struct json_object *request, const char *name, const struct arguments *args)
{
	int r = json_object_object_add(request, "name", json_object_new_string(name));

	if (r == 0)
		r = add_flag(request, "force", arguments_has(args, "force"));
	if (r == 0)
		r = add_flag(request, "power_off", arguments_has(args, "power-off"));
	return r;
}

static enum exit_status eject_run(const struct arguments *args)
{
	_cleanup_(client_freep) struct client *client = NULL;
	_cleanup_(json_putp) struct json_object *request = client_request("eject");
	_cleanup_(json_putp) struct json_object *answer = NULL;
	_cleanup_free_ char *name = NULL;
	_cleanup_free_ char *shown = NULL;
	enum exit_status status = medium_name(args, &name);

	if (status != EXIT_DONE)
		return status;
	if (client_open(args, &client) < 0)
		return EXIT_FAILED;
	if (request && request_fill(request, name, args) < 0)
		json_putp(&request);
	/* Writing out a slow disk takes as long as it takes; the daemon has the deadlines. */
	if (client_call(client, request, CLIENT_FOREVER, &answer) < 0)
		return EXIT_FAILED;
	shown = text_escape(name, NULL);
	(void)printf("%s %s\n", shown ? shown : "the disk",
		     arguments_has(args, "power-off") ? "is switched off and can be unplugged"
						      : "can be unplugged now");
	return EXIT_DONE;
}

const struct command command_eject = {
	.name = "eject",
	.operand = "NAME",
	.summary = "Write out and unmount the disk NAME, so that it can be unplugged.",
	.options = options,
	.run = eject_run,
};
