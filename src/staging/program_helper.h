/*
 * What a driver program starts in place of fusermount(1): libfuse does that when mount(2) is
 * refused, and gets the connection from it (lib/mount.c of libfuse: one byte with the fd beside it,
 * on the socket whose number is in _FUSE_COMMFD). So the program needs no right to mount anything.
 */
#pragma once

#include "base/util.h"

/* The number of the connection's fd, which the program has inherited, in the environment. */
#define PROGRAM_HELPER_VARIABLE "HOTPLUGFS_FUSE_FD"

/* Whether this process was started as the helper. Pure, but for the environment. */
bool program_helper_called(const char *name);

/* Hands the connection over. Returns the exit status. */
int program_helper_run(void);
