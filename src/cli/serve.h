/* What the commands that serve a view have in common. */
#pragma once

#include "cli/command.h"
#include "daemon/broker.h"

/* The options of the daemon, all of them settings but --config. */
extern const struct option_spec serve_options[];

/*
 * Runs the daemon at the operand, with COMMAND if workload is not NULL. ret_result: as returned by
 * broker_run(). Returns EXIT_DONE; or, after a message, EXIT_USAGE or EXIT_FAILED.
 */
enum exit_status serve_run(const struct arguments *args, const struct workload_args *workload,
			   int *ret_result);
