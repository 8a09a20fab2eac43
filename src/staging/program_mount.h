/*
 * The mount of a driver program that does not ask fusermount(1) for it: ntfs-3g has a libfuse of
 * its own, which opens /dev/fuse and calls mount(2). That call waits for our answer, by the
 * program's seccomp filter (seccomp_unotify(2)). We put the connection that is mounted already in
 * the place of the one that the program has opened, and answer that the mount has succeeded. So
 * this program needs no right to mount anything, either. Internal to staging/.
 */
#pragma once

#include "base/loop.h"

struct program_mount;

/*
 * fuse_fd is duplicated, and closed once it has been handed over. ret_listener_to: for the
 * program, which sends its listener there; the caller's. done is called at most once, from the
 * loop, when the program has mounted. Returns 0 or -errno.
 */
int program_mount_new(struct loop *loop, int fuse_fd, void (*done)(bool read_only, void *data),
		      void *data, int *ret_listener_to, struct program_mount **ret_mount);

/* A connection that was not handed over ends. Accepts NULL, returns NULL. */
struct program_mount *program_mount_free(struct program_mount *mount);
