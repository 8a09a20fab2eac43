/* Taking rights away from our own processes: capabilities and system calls. */
#pragma once

#include "util.h"

/* A sanitizer's runtime is in the program; the filters then leave it what it needs. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

enum sandbox_profile {
	SANDBOX_PROBE,	 /* reads open fds and answers through a pipe: no capability, no new file */
	SANDBOX_SERVER,	 /* the FUSE server: file operations under the medium roots it is given */
	SANDBOX_FDSTORE, /* hands open fds over a socket: no capability, no file */
	SANDBOX_DRIVER,	 /* a filesystem driver that is a program of somebody else */
	SANDBOX_MOUNTING_DRIVER, /* one whose mount(2) is told to who made it */
};

/*
 * Compiles the profile's filter now, for the children that will be forked from this process: it
 * takes about a millisecond, which each of them would spend again. Not for the server and drivers,
 * whose filters name the process. Once is enough. Returns 0 or -errno; without it sandbox_enter()
 * does it.
 */
int sandbox_prepare(enum sandbox_profile profile);

/*
 * Keeps only those of the profile's capabilities that the process has (in all sets), sets
 * no_new_privs, and installs the profile's seccomp filter. Outside of it the server gets EPERM
 * (ENOSYS for clone3, so that the C library uses clone). The probe gets EACCES when it opens or
 * looks for a file, and is killed by anything else, as is the keeper of fds. The server can make
 * threads, no processes. Must be called while the process has one thread. Without seccomp in the
 * kernel the rest is done and *ret_filtered is false. Returns 0 or -errno.
 */
int sandbox_enter(enum sandbox_profile profile, bool *ret_filtered);

/*
 * The filter alone, for a process that has no_new_privs: the driver starts programs under it, and
 * gets EPERM outside of it, so when it mounts something. Else as sandbox_enter().
 */
int sandbox_filter(enum sandbox_profile profile, bool *ret_filtered);

/*
 * The filter of SANDBOX_MOUNTING_DRIVER, likewise. mount(2) waits until it is answered through
 * ret_listener (seccomp_unotify(2)), the caller's and close-on-exec; ENOSYS once nobody has that
 * open. Returns 0, -ENOSYS without seccomp, or -errno.
 */
int sandbox_filter_mounting(int *ret_listener);
