/* hotplugfs monitor: one line for every event. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "daemon/control.h"

static const struct option_spec options[] = {
	OPTION_JSON,
	OPTION_SOCKET,
	OPTION_END,
};

static void event_print(struct json_object *event)
{
	struct json_object *medium = json_object_object_get(event, "medium");
	const char *members[] = {"name", "fstype", "device", "reason"};
	char *texts[ARRAY_SIZE(members)];

	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		texts[i] = text_escape(medium_text(medium, members[i]), NULL);
	(void)printf("%s %-8s %s (%s, %s, %s)%s%s\n", medium_text(event, "time"),
		     medium_text(event, "event"), texts[0] ? texts[0] : "-",
		     texts[1] ? texts[1] : "-", medium_size(medium, "size_bytes").text,
		     texts[2] ? texts[2] : "-", texts[3] && *texts[3] ? ": " : "",
		     texts[3] ? texts[3] : "");
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		free(texts[i]);
}

static void event_print_json(struct json_object *event)
{
	(void)puts(json_object_to_json_string_ext(event, JSON_C_TO_STRING_PLAIN |
								 JSON_C_TO_STRING_NOSLASHESCAPE));
}

static enum exit_status monitor_run(const struct arguments *args)
{
	_cleanup_(client_freep) struct client *client = NULL;
	_cleanup_(json_putp) struct json_object *request = client_request("monitor");
	_cleanup_(json_putp) struct json_object *answer = NULL;

	if (client_open(args, &client) < 0)
		return EXIT_FAILED;
	if (client_call_prompt(client, request, &answer) < 0)
		return EXIT_FAILED;
	for (;;) {
		_cleanup_(json_putp) struct json_object *event = NULL;

		if (client_read(client, &event) < 0)
			return EXIT_FAILED;
		if (arguments_has(args, "json"))
			event_print_json(event);
		else
			event_print(event);
		if (output_flush(args->command) < 0)
			return EXIT_FAILED;
	}
}

const struct command command_monitor = {
	.name = "monitor",
	.summary = "Print a line whenever a disk appears, is mounted, idle, ejected, removed or "
		   "fails.",
	.options = options,
	.run = monitor_run,
};
