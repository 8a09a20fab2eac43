/* hotplugfs relay: events for daemons in network namespaces to which the kernel sends none. */
#include <ctype.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/output.h"
#include "daemon/relay.h"

static const struct option_spec options[] = {
	{.name = "pid",
	 .value = "PID",
	 .help = "send them into the network namespace of this process"},
	{.name = "listen",
	 .value = "PATH",
	 .help = "offer them at this unix socket (default, without --pid:\n" RELAY_SOCKET_DEFAULT
		 ")"},
	{.name = "log-level", .value = "LEVEL", .help = "error, warning, notice, info or debug"},
	OPTION_END,
};

static bool pid_parse(const char *text, int *ret_pid)
{
	long pid;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno != 0 || *end || pid <= 0 || pid > INT32_MAX)
		return false;
	*ret_pid = (int)pid;
	return true;
}

static enum exit_status relay_main(const struct arguments *args)
{
	const char *pid = arguments_value(args, "pid");
	const char *level = arguments_value(args, "log-level");
	struct relay_args relay = {.listen = arguments_value(args, "listen")};

	if (pid && !pid_parse(pid, &relay.pid)) {
		usage_print(args->command, "--pid: %s is not a process id", QUOTE(pid));
		return EXIT_USAGE;
	}
	if (level && log_level_parse(level) == LOG_LEVEL_INVALID) {
		usage_print(args->command,
			    "--log-level: %s is not error, warning, notice, info or debug",
			    QUOTE(level));
		return EXIT_USAGE;
	}
	if (level)
		log_set_level(log_level_parse(level));
	if (!pid && !relay.listen)
		relay.listen = RELAY_SOCKET_DEFAULT;
	return relay_run(&relay) < 0 ? EXIT_FAILED : EXIT_DONE;
}

const struct command command_relay = {
	.name = "relay",
	.summary = "Hand the kernel's events to daemons in containers where none arrive.",
	.notes = "To be run on the host. Stays in the foreground; ends on SIGTERM and SIGINT, and\n"
		 "with the process of --pid.",
	.options = options,
	.run = relay_main,
};
