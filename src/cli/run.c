/* hotplugfs run: the daemon and one command without rights, as in a container of their own. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "base/process.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/serve.h"
#include "device/config.h"

/* The "nobody" of every system; it owns nothing. */
#define NOBODY 65534

static const struct option_spec options[] = {
	{.name = "user",
	 .value = "USER[:GROUP]",
	 .help = "run COMMAND as this user (default: 65534:65534 if started by\n"
		 "root, else who starts it)"},
	OPTION_END,
};

/* More groups than a user has. */
#define GROUPS_MAX 1024

static gid_t groups[GROUPS_MAX];

/* Those of the user database; with an explicit GROUP, or a number without a user, only that one. */
static void groups_find(struct identity *identity, bool only_group)
{
	const struct passwd *user = only_group ? NULL : getpwuid(identity->uid);
	int count = GROUPS_MAX;

	groups[0] = identity->gid;
	if (!user)
		count = 1;
	else if (getgrouplist(user->pw_name, identity->gid, groups, &count) < 0)
		count = GROUPS_MAX;
	identity->groups = groups;
	identity->group_count = (size_t)count;
}

/* Nothing of the daemon looks at these; COMMAND must not take root's home for its own. */
static int environment_set(const struct identity *identity)
{
	const struct passwd *user = getpwuid(identity->uid);

	if (setenv("HOME", user ? user->pw_dir : "/", 1) < 0)
		return -errno;
	if (!user)
		return unsetenv("USER") < 0 || unsetenv("LOGNAME") < 0 ? -errno : 0;
	if (setenv("USER", user->pw_name, 1) < 0 || setenv("LOGNAME", user->pw_name, 1) < 0)
		return -errno;
	return 0;
}

/* Who is asked for: EXIT_DONE, or EXIT_USAGE after a message. */
static enum exit_status identity_parse(const struct arguments *args, struct identity *identity)
{
	const char *text = arguments_value(args, "user");
	struct owner owner = {.uid = NOBODY, .gid = NOBODY};
	char error[512] = "";

	if (!text && geteuid() != 0)
		return EXIT_DONE;
	if (text && owner_parse(text, &owner, error, sizeof(error)) < 0) {
		usage_print(args->command, "--user: %s", error);
		return EXIT_USAGE;
	}
	identity->uid = owner.uid;
	identity->gid = owner.gid;
	identity->change = owner.uid != getuid() || owner.gid != getgid();
	groups_find(identity, !text || strchr(text, ':'));
	return EXIT_DONE;
}

static enum exit_status identity_get(const struct arguments *args, struct identity *identity)
{
	enum exit_status status = identity_parse(args, identity);

	if (status != EXIT_DONE)
		return status;
	if (!privileges_allow(identity)) {
		if (arguments_has(args, "user")) {
			error_print(args->command, "--user needs CAP_SETUID and CAP_SETGID");
			return EXIT_FAILED;
		}
		error_print(args->command,
			    "without CAP_SETUID and CAP_SETGID the command runs as root, with no "
			    "capability");
		identity->change = false;
	}
	if (identity->change && environment_set(identity) < 0) {
		error_print(args->command, "out of memory");
		return EXIT_FAILED;
	}
	return EXIT_DONE;
}

static enum exit_status run_run(const struct arguments *args)
{
	struct workload_args workload = {.argv = args->tail};
	enum exit_status status;
	int result = 0;

	process_fill_stdio();
	workload_args_inherit(&workload);
	status = identity_get(args, &workload.identity);
	if (status == EXIT_DONE)
		status = serve_run(args, &workload, &result);
	return status == EXIT_DONE ? (enum exit_status)result : status;
}

const struct command command_run = {
	.name = "run",
	.operand = "MOUNTPOINT",
	.operand_default = "/media",
	.tail = "COMMAND [ARGUMENT]...",
	.summary = "Run COMMAND, without any right, beside the daemon that it sees disks by.",
	.notes = "MOUNTPOINT is /media if not given. COMMAND is started when the view is ready, "
		 "and\n"
		 "gets the signals that are sent to this process. The exit status is that of\n"
		 "COMMAND: 128+N if signal N ended it, 126 or 127 if it could not be started.",
	.options = options,
	.shared = serve_options,
	.log_level = LOG_LEVEL_WARNING,
	.run = run_run,
};
