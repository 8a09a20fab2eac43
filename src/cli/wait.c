/* hotplugfs wait: until a name is there. */
#include "base/log.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "daemon/control.h"
#include "device/config.h"

static const struct option_spec options[] = {
	{.name = "timeout",
	 .letter = 't',
	 .value = "TIME",
	 .help = "fail if it is not there in this time (default: never)"},
	OPTION_SOCKET,
	OPTION_END,
};

/* Returns 0 or -EINVAL. duration_parse() gives 0 both for "0" and for "never". */
static int timeout_read(const struct arguments *args, uint64_t *ret_ms)
{
	const char *text = arguments_value(args, "timeout");

	*ret_ms = CLIENT_FOREVER;
	if (!text || streq(text, "never"))
		return 0;
	return duration_parse(text, ret_ms);
}

/* With no time to wait only what is there now counts: the list says it. */
static int look(struct client *client, const char *name)
{
	_cleanup_(json_putp) struct json_object *request = client_request("list");
	_cleanup_(json_putp) struct json_object *answer = NULL;
	struct json_object *media;
	int r = client_call_prompt(client, request, &answer);

	if (r < 0)
		return r;
	media = json_object_object_get(answer, "media");
	if (!json_object_is_type(media, json_type_array))
		return -ETIMEDOUT;
	for (size_t i = 0; i < json_object_array_length(media); i++)
		if (streq(medium_text(json_object_array_get_idx(media, i), "name"), name))
			return 0;
	return -ETIMEDOUT;
}

static int stay(struct client *client, const char *name, uint64_t timeout_ms)
{
	_cleanup_(json_putp) struct json_object *request = client_request("wait");
	_cleanup_(json_putp) struct json_object *answer = NULL;

	if (request && json_object_object_add(request, "name", json_object_new_string(name)) < 0)
		json_putp(&request);
	return client_call(client, request, timeout_ms, &answer);
}

static enum exit_status wait_run(const struct arguments *args)
{
	_cleanup_(client_freep) struct client *client = NULL;
	_cleanup_free_ char *name = NULL;
	enum exit_status status;
	uint64_t timeout_ms;
	int r;

	if (timeout_read(args, &timeout_ms) < 0) {
		usage_print(args->command, "--timeout: %s is not a time",
			    QUOTE(arguments_value(args, "timeout")));
		return EXIT_USAGE;
	}
	status = medium_name(args, &name);
	if (status != EXIT_DONE)
		return status;
	if (client_open(args, &client) < 0)
		return EXIT_FAILED;
	r = timeout_ms ? stay(client, name, timeout_ms) : look(client, name);
	if (r == -ETIMEDOUT)
		error_print(args->command, "%s is not there", QUOTE(name));
	return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_wait = {
	.name = "wait",
	.operand = "NAME",
	.summary = "Wait until the disk NAME is there.",
	.notes = "TIME is a number of seconds, or a number with ms, s, min or h. 0 only looks.",
	.options = options,
	.run = wait_run,
};
