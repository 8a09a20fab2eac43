/* The table of subcommands. */
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/takeover.h"
#include "daemon/handover.h"
#include "staging/program_helper.h"

static const struct command *const commands[] = {
	&command_mount, &command_run,	&command_list,	 &command_wait,	   &command_monitor,
	&command_eject, &command_probe, &command_doctor, &command_attach,  &command_detach,
	&command_cdi,	&command_hook,	&command_relay,	 &command_upgrade,
};

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (streq(commands[i]->name, name))
			return commands[i];
	return NULL;
}

static void help_print(void)
{
	(void)printf("Usage: hotplugfs COMMAND [OPTIONS] ...\n\n"
		     "Shows hotplugged disks to containers through one mount.\n\nCommands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		(void)printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	(void)printf("\nOptions:\n"
		     "  -h, --help print this help\n"
		     "  --version  print the version\n\n"
		     "hotplugfs COMMAND --help tells the options of a command; the manual page is\n"
		     "hotplugfs(8).\n");
}

static void version_print(void)
{
	(void)puts("hotplugfs " HOTPLUGFS_VERSION);
}

static enum exit_status command_start(const struct command *command, int argc, char **argv)
{
	_cleanup_(arguments_done) struct arguments args = {0};
	char error[1400] = "";
	enum exit_status status = EXIT_DONE;
	int r = options_parse(command, argc, argv, &args, error, sizeof(error));

	if (r == -ENOMEM) {
		error_print(command, "out of memory");
		return EXIT_FAILED;
	}
	if (r < 0) {
		usage_print(command, "%s", error);
		return EXIT_USAGE;
	}
	if (r == OPTIONS_HELP)
		options_help(command, stdout);
	else if (r == OPTIONS_VERSION)
		version_print();
	else
		status = command->run(&args);
	if (output_flush(command) < 0 && status == EXIT_DONE)
		status = EXIT_FAILED;
	return status;
}

/* Of the daemon's own; not for people. */
static enum exit_status takeover_start(int argc, char **argv)
{
	const struct command *command = argc > 3 ? command_find(argv[3]) : NULL;

	if (!command) {
		usage_print(NULL, "unknown command after " HANDOVER_OPTION);
		return EXIT_USAGE;
	}
	return takeover_try(argv[2], command, argc - 3, argv + 3);
}

/* A command line that starts with no command: --help, --version or a mistake. */
static enum exit_status plain_run(int argc, char **argv)
{
	if (argc < 2) {
		usage_print(NULL, "no command given");
		return EXIT_USAGE;
	}
	if (streq(argv[1], HANDOVER_OPTION)) {
		enum exit_status status = takeover_start(argc, argv);

		return output_flush(NULL) < 0 ? EXIT_FAILED : status;
	}
	if (streq(argv[1], "--help") || streq(argv[1], "-h")) {
		help_print();
	} else if (streq(argv[1], "--version")) {
		version_print();
	} else {
		usage_print(NULL, "unknown %s %s", argv[1][0] == '-' ? "option" : "command",
			    QUOTE(argv[1]));
		return EXIT_USAGE;
	}
	return output_flush(NULL) < 0 ? EXIT_FAILED : EXIT_DONE;
}

int main(int argc, char **argv)
{
	const struct command *command = argc > 1 ? command_find(argv[1]) : NULL;
	enum exit_status status;

	if (argc > 0 && program_helper_called(argv[0]))
		_exit(program_helper_run());
	/* A closed pipe is an error of write(2), like a full disk. */
	(void)signal(SIGPIPE, SIG_IGN);
	/* Ignored, as some start us, it would take the exit statuses of children from us. */
	(void)signal(SIGCHLD, SIG_DFL);
	output_init();
	if (!command)
		return plain_run(argc, argv);
	status = command_start(command, argc - 1, argv + 1);
	if (status != EXIT_DONE)
		handover_return(); /* if we were to take over, and could not */
	return status;
}
