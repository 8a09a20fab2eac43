/* Taking rights away from our own processes: capabilities and system calls. */
#pragma once

#include "base/util.h"

enum sandbox_profile {
	SANDBOX_PROBE,	/* reads open fds and answers through a pipe: no capability, no new file */
	SANDBOX_SERVER, /* the FUSE server: file operations under the medium roots it is given */
};

/*
 * Keeps only the profile's capabilities (all sets), sets no_new_privs, and installs the
 * profile's seccomp filter; a system call outside it fails with EPERM in the server and kills
 * the probe. Must be called while the process has one thread. Without seccomp in the kernel the
 * rest is done and *ret_filtered is false. Returns 0 or -errno.
 */
int sandbox_enter(enum sandbox_profile profile, bool *ret_filtered);
