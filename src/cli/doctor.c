/* hotplugfs doctor: can the daemon work here? */
#include "cli/doctor.h"

#include <json-c/json.h>
#include <stdio.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/medium.h"
#include "cli/output.h"
#include "cli/settings.h"

static const struct option_spec options[] = {
	OPTION_JSON, OPTION_DEV, OPTION_EVENTS, OPTION_CONFIG, OPTION_END,
};

static const struct doctor_check *const themes[] = {
	doctor_checks_fuse,    doctor_checks_rights, doctor_checks_calls,
	doctor_checks_devices, doctor_checks_events, doctor_checks_system,
};

static const char *const verdict_names[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_WARN] = "warn",
	[DOCTOR_FAIL] = "fail",
};

static void print_text(const struct doctor_check *check, const struct doctor_finding *finding)
{
	(void)printf("%-4s  %-14s  %s\n", verdict_names[finding->verdict], check->name,
		     finding->found);
	(void)printf("%22smeans: %s\n", "", check->meaning);
	if (*finding->advice)
		(void)printf("%22sdo:    %s\n", "", finding->advice);
}

static void add_json(struct json_object *array, const struct doctor_check *check,
		     const struct doctor_finding *finding)
{
	struct json_object *o = json_object_new_object();

	(void)json_object_object_add(o, "check", json_object_new_string(check->name));
	(void)json_object_object_add(o, "verdict",
				     json_object_new_string(verdict_names[finding->verdict]));
	(void)json_object_object_add(o, "found", json_text(finding->found));
	(void)json_object_object_add(o, "meaning", json_object_new_string(check->meaning));
	(void)json_object_object_add(o, "advice", json_text(finding->advice));
	(void)json_object_array_add(array, o);
}

/* json: NULL for text. Counts verdicts. */
static void run_all(const struct config *config, struct json_object *json, size_t *counts)
{
	for (size_t theme = 0; theme < ARRAY_SIZE(themes); theme++) {
		for (const struct doctor_check *c = themes[theme]; c->name; c++) {
			struct doctor_finding finding;

			doctor_run_check(c, config, &finding);
			counts[finding.verdict]++;
			if (json)
				add_json(json, c, &finding);
			else
				print_text(c, &finding);
			(void)fflush(stdout); /* each child must find the buffer empty */
		}
	}
}

static enum exit_status doctor_run(const struct arguments *args)
{
	_cleanup_(config_freep) struct config *config = NULL;
	size_t counts[ARRAY_SIZE(verdict_names)] = {0};
	struct json_object *json = NULL;
	enum exit_status status;

	status = settings_get(args, &config);
	if (status != EXIT_DONE)
		return status;
	if (arguments_has(args, "json"))
		json = json_object_new_array();
	run_all(config, json, counts);
	if (json)
		json_print(json);
	else
		(void)printf("%zu ok, %zu to look at, %zu failed\n", counts[DOCTOR_OK],
			     counts[DOCTOR_WARN], counts[DOCTOR_FAIL]);
	json_object_put(json);
	return counts[DOCTOR_FAIL] ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_doctor = {
	.name = "doctor",
	.summary = "Check whether the daemon can work here, and say what to do if not.",
	.notes = "Run it as the user and in the container that the daemon is to run in.",
	.options = options,
	.run = doctor_run,
};
