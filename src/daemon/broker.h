/* The privileged parent: watches devices, decides, mounts, and supervises the server. */
#pragma once

#include "daemon/workload.h"
#include "device/config.h"

struct broker_args {
	const char *mountpoint;
	struct config *config; /* becomes the broker's */
	/* COMMAND, started when the view is ready; the daemon ends with it. NULL: there is none. */
	const struct workload_args *workload;
	/*
	 * Makes a configuration anew for SIGHUP (file, then command line again). Returns 0 with
	 * ret_config the caller's, or -errno with one line in error.
	 */
	int (*load_config)(void *data, struct config **ret_config, char *error, size_t error_size);
	void *data;
};

/*
 * Serves until SIGTERM, SIGINT or SIGRTMIN+3, or until COMMAND has ended; then syncs, unmounts and
 * leaves nothing behind. Messages go to the log. Returns 0 after a clean end, or COMMAND's exit
 * status as of a shell; else -errno (already logged).
 */
int broker_run(const struct broker_args *args);
