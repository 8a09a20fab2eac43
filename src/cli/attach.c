/* hotplugfs attach and detach: the view in a container that runs. */
#include "container/attach.h"

#include <stdio.h>

#include "base/process.h"
#include "cli/command.h"
#include "cli/engine.h"
#include "cli/output.h"
#include "cli/view.h"

#define OPTIONS_WHOSE                                                                 \
	{.name = "pid",                                                               \
	 .letter = 'p',                                                               \
	 .value = "PID",                                                              \
	 .help = "the container that this process is in"},                            \
		{.name = "container",                                                 \
		 .letter = 'c',                                                       \
		 .value = "NAME",                                                     \
		 .help = "a container of podman or docker"},                          \
		{.name = "engine",                                                    \
		 .value = "PROGRAM",                                                  \
		 .help = "ask this engine for the container (default: the first of\n" \
			 "podman and docker that knows it)"},                         \
		OPTION_VIEW

static const struct option_spec attach_options[] = {
	OPTIONS_WHOSE,
	{.name = "read-only", .help = "nothing can be written there"},
	OPTION_END,
};

static const struct option_spec detach_options[] = {
	OPTIONS_WHOSE,
	OPTION_END,
};

static int pid_parse(const char *text, pid_t *ret_pid)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value == 0 || value > INT32_MAX)
		return -EINVAL;
	*ret_pid = (pid_t)value;
	return 0;
}

static enum exit_status find_process(const struct arguments *args, int *ret_pidfd, pid_t *ret_pid)
{
	const char *pid = arguments_value(args, "pid");
	const char *name = arguments_value(args, "container");

	if (!pid == !name) {
		usage_print(args->command, "either --pid or --container is needed");
		return EXIT_USAGE;
	}
	if (name)
		return engine_find(args->command, arguments_value(args, "engine"), name, ret_pidfd,
				   ret_pid) < 0
			       ? EXIT_FAILED
			       : EXIT_DONE;
	if (pid_parse(pid, ret_pid) < 0) {
		usage_print(args->command, "--pid: %s is not a process number", QUOTE(pid));
		return EXIT_USAGE;
	}
	*ret_pidfd = process_pidfd_open(*ret_pid);
	if (*ret_pidfd >= 0)
		return EXIT_DONE;
	error_print(args->command, "process %d: %s", (int)*ret_pid, error_text(-*ret_pidfd));
	return EXIT_FAILED;
}

static enum exit_status attach(const struct arguments *args, struct attach_args *attach)
{
	enum source_follow follow;
	char error[1400];

	if (attach_run(attach, &follow, error, sizeof(error)) < 0) {
		error_print(args->command, "%s", error);
		return EXIT_FAILED;
	}
	if (follow == SOURCE_STAYS && !attach->wish.read_only)
		error_print(args->command,
			    "attached, but %s is on no shared mount: attach again when the daemon "
			    "has been restarted",
			    QUOTE(attach->wish.view));
	return EXIT_DONE;
}

static enum exit_status detach(const struct arguments *args, struct attach_args *attach)
{
	char error[1400];

	if (attach_undo(attach, error, sizeof(error)) < 0) {
		error_print(args->command, "%s", error);
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static enum exit_status run(const struct arguments *args,
			    enum exit_status (*fn)(const struct arguments *, struct attach_args *))
{
	_cleanup_close_ int pidfd = -EBADF;
	_cleanup_free_ char *view = NULL;
	struct attach_args attach = {.target = args->operand};
	enum exit_status status;

	process_fill_stdio();
	status = find_process(args, &pidfd, &attach.pid);
	if (status == EXIT_DONE)
		status = view_path(args, &view);
	if (status != EXIT_DONE)
		return status;
	attach.pidfd = pidfd;
	attach.wish.view = view;
	attach.wish.read_only = arguments_has(args, "read-only");
	return fn(args, &attach);
}

static enum exit_status attach_command(const struct arguments *args)
{
	return run(args, attach);
}

static enum exit_status detach_command(const struct arguments *args)
{
	return run(args, detach);
}

const struct command command_attach = {
	.name = "attach",
	.operand = "TARGET",
	.operand_default = "/media",
	.summary = "Put the view into a container that is running, at TARGET.",
	.notes = "TARGET is /media if not given, and is made if it is not there. The container "
		 "needs "
		 "no\nright. It must be run by root of the host, where the view is.",
	.options = attach_options,
	.run = attach_command,
};

const struct command command_detach = {
	.name = "detach",
	.operand = "TARGET",
	.operand_default = "/media",
	.summary = "Take the view at TARGET out of a container that is running.",
	.notes = "TARGET is /media if not given. Open files stay open.",
	.options = detach_options,
	.run = detach_command,
};
