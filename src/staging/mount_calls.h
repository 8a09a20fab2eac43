/* One attempt to mount a block filesystem. Internal to staging/. */
#pragma once

#include "base/limits.h"
#include "base/util.h"

struct mount_attempt {
	const char *source; /* from the working directory */
	const char *target;
	const char *type;
	const char *options; /* comma separated */
	bool read_only;
};

/*
 * Mounts with nosuid and nodev, by fsopen(2) and its companions, or by mount(2) where these are
 * missing. Returns 0 or -errno, then with the kernel's own words in message if it had any.
 */
int mount_attempt_run(const struct mount_attempt *attempt, char *message, size_t size);
