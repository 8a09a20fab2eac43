/* hotplugfs list: what is there. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "cli/table.h"
#include "daemon/control.h"

static const struct option_spec options[] = {
	{.name = "all", .letter = 'a', .help = "also devices that are not shown, and why not"},
	OPTION_JSON,
	OPTION_SOCKET,
	OPTION_END,
};

static const struct table_column columns[] = {
	{.title = "NAME"},
	{.title = "STATE"},
	{.title = "SIZE", .right = true},
	{.title = "USED", .right = true},
	{.title = "TYPE"},
	{.title = "ACCESS"},
	{.title = "DEVICE"},
	{.title = "MODEL"},
	{.title = "REASON"},
	{0},
};

/* Disks with a name come first, in the order of their names, then the others by their device. */
static int compare(const void *a, const void *b)
{
	struct json_object *const one = *(struct json_object *const *)a;
	struct json_object *const other = *(struct json_object *const *)b;
	const char *name = medium_text(one, "name");
	const char *other_name = medium_text(other, "name");

	if (!*name != !*other_name)
		return *name ? -1 : 1;
	if (!streq(name, other_name))
		return strcmp(name, other_name);
	return strverscmp(medium_text(one, "device"), medium_text(other, "device"));
}

static int row_add(struct table *table, struct json_object *medium)
{
	struct size_text size = medium_size(medium, "size_bytes");
	struct size_text used = medium_size(medium, "used_bytes");
	const char *name = medium_text(medium, "name");
	const char *const texts[] = {
		*name ? name : "-",
		medium_text(medium, "state"),
		size.text,
		used.text,
		medium_text(medium, "fstype"),
		medium_is(medium, "read_only") ? "ro" : "rw",
		medium_text(medium, "device"),
		medium_text(medium, "model"),
		medium_text(medium, "reason"),
	};

	_Static_assert(ARRAY_SIZE(texts) + 1 == ARRAY_SIZE(columns), "one text for each column");
	return table_add(table, texts);
}

static int print_table(struct json_object *media)
{
	_cleanup_(table_freep) struct table *table = NULL;
	size_t count = json_object_array_length(media);
	int r = table_new(columns, &table);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = row_add(table, json_object_array_get_idx(media, i));
	if (r == 0 && count > 0)
		table_print(table, stdout);
	return r;
}

static int request_all(struct json_object *request, bool all)
{
	return json_object_object_add(request, "all", json_object_new_boolean(all));
}

static enum exit_status list_run(const struct arguments *args)
{
	_cleanup_(client_freep) struct client *client = NULL;
	_cleanup_(json_putp) struct json_object *request = client_request("list");
	_cleanup_(json_putp) struct json_object *answer = NULL;
	struct json_object *media;

	if (client_open(args, &client) < 0)
		return EXIT_FAILED;
	if (request && request_all(request, arguments_has(args, "all")) < 0)
		json_putp(&request);
	if (client_call_prompt(client, request, &answer) < 0)
		return EXIT_FAILED;
	media = json_object_object_get(answer, "media");
	if (!json_object_is_type(media, json_type_array)) {
		error_print(args->command, "the daemon's answer cannot be understood");
		return EXIT_FAILED;
	}
	json_object_array_sort(media, compare);
	if (arguments_has(args, "json")) {
		json_print(media);
		return EXIT_DONE;
	}
	return print_table(media) < 0 ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_list = {
	.name = "list",
	.summary = "List the disks that the daemon shows.",
	.options = options,
	.run = list_run,
};
