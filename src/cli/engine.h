/* Containers of podman and docker by name, told by the engine's own command line. */
#pragma once

#include <sys/types.h>

#include "cli/command.h"

/*
 * The process of a running container, asked of engine (a program), or of the first of podman and
 * docker that knows the container if that is NULL. The pidfd holds the process although its number
 * may be given to another. No shell sees the name. Blocks until the engine answers. Returns 0 and
 * the pidfd, which is the caller's to close, with the number; or -errno after a message.
 */
int engine_find(const struct command *command, const char *engine, const char *name, int *ret_pidfd,
		pid_t *ret_pid);
