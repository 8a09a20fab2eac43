/* "hotplugfs --takeover FD COMMAND...": whether this program could go on from a record. */
#pragma once

#include "cli/command.h"

/*
 * argv[0] is the name of the command that runs; it is to be parsed, and nothing else. Returns
 * EXIT_DONE after HANDOVER_ANSWER, else what says why not is on stderr.
 */
enum exit_status takeover_try(const char *fd, const struct command *command, int argc, char **argv);
