/* hotplugfs mount: the daemon, in the foreground. */
#include "cli/command.h"
#include "cli/serve.h"

static enum exit_status mount_run(const struct arguments *args)
{
	int result;

	return serve_run(args, NULL, &result);
}

const struct command command_mount = {
	.name = "mount",
	.operand = "MOUNTPOINT",
	.summary = "Show hotplugged disks as directories of MOUNTPOINT, until stopped.",
	.notes = "Stays in the foreground and logs to stderr. SIGHUP reads the configuration "
		 "again;\n"
		 "SIGTERM and SIGINT end it, with everything synced and unmounted. TIME is a "
		 "number\n"
		 "of seconds, or a number with ms, s, min or h. See hotplugfs.conf(5).",
	.options = serve_options,
	.run = mount_run,
};
