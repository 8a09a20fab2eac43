#include "cli/serve.h"

#include "base/log.h"
#include "cli/output.h"
#include "cli/settings.h"
#include "daemon/control.h"

const struct option_spec serve_options[] = {
	OPTION_INCLUDE,
	OPTION_EXCLUDE,
	OPTION_DEV,
	OPTION_EVENTS,
	{.name = "owner",
	 .value = "USER[:GROUP]",
	 .setting = "owner",
	 .help = "show every file as owned by this user"},
	{.name = "idle-timeout",
	 .value = "TIME",
	 .setting = "idle-timeout",
	 .help = "unmount a disk that nobody uses after this time: 30, 500ms,\n2min, never"},
	{.name = "read-only",
	 .setting = "read-only",
	 .implied = "yes",
	 .help = "mount every disk read-only"},
	{.name = "exec",
	 .setting = "exec",
	 .implied = "yes",
	 .help = "allow programs on the disks to be run"},
	{.name = "durability",
	 .value = "MODE",
	 .setting = "durability",
	 .help = "when written data goes to the disk: lazy, close (soon after\n"
		 "the last writer closed), strict (close waits for it)"},
	{.name = "no-passthrough",
	 .setting = "passthrough",
	 .implied = "no",
	 .help = "let all data go through the daemon"},
	{.name = "probe-timeout",
	 .value = "TIME",
	 .setting = "probe-timeout",
	 .help = "give up on a disk that cannot be read in this time"},
	{.name = "mount-timeout",
	 .value = "TIME",
	 .setting = "mount-timeout",
	 .help = "give up on a disk that cannot be mounted in this time"},
	OPTION_CONFIG,
	{.name = "socket",
	 .value = "PATH",
	 .setting = "socket",
	 .help = "control socket (default: " CONTROL_SOCKET_DEFAULT ")"},
	{.name = "state-dir",
	 .value = "DIR",
	 .setting = "state-dir",
	 .help = "where names that two disks claim are remembered"},
	{.name = "log-level",
	 .value = "LEVEL",
	 .setting = "log-level",
	 .help = "error, warning, notice, info or debug"},
	OPTION_END,
};

/* For SIGHUP: the same command line over the file as it is now. */
static int load_again(void *data, struct config **ret_config, char *error, size_t error_size)
{
	return settings_load(data, ret_config, error, error_size);
}

enum exit_status serve_run(const struct arguments *args, const struct workload_args *workload,
			   int *ret_result)
{
	struct arguments again = *args; /* broker_args.data is not const */
	struct broker_args broker = {
		.mountpoint = args->operand,
		.workload = workload,
		.load_config = load_again,
		.data = &again,
	};
	enum exit_status status = settings_get(args, &broker.config);

	if (status != EXIT_DONE)
		return status;
	log_set_level(broker.config->log_level);
	*ret_result = broker_run(&broker);
	return *ret_result < 0 ? EXIT_FAILED : EXIT_DONE;
}
