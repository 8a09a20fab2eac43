/*
 * A running container as we find it: its mount namespace and root, and directories in there. What
 * is in them belongs to somebody hostile: links lead to places in the container and nowhere else.
 */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "base/mountinfo.h"

struct guest {
	int proc; /* our own /proc, to be used from inside */
	int mnt;  /* its mount namespace */
	int root; /* the root directory of its process */
	int home; /* the mount namespace to come back to, while in it */
};

#define GUEST_NONE                                                             \
	{                                                                      \
		.proc = -EBADF, .mnt = -EBADF, .root = -EBADF, .home = -EBADF, \
	}

/*
 * Opens what the process with this pidfd (borrowed, see process_pidfd_open()) lives in; the caller
 * must have one thread. ret_guest is to be given to
 * guest_done(), after success. Returns 0; -ESRCH when the process has ended; -EALREADY when it is
 * in the caller's mount namespace; -EPERM without the right to enter; or -errno.
 */
int guest_open(int pidfd, pid_t pid, struct guest *ret_guest);
void guest_done(struct guest *guest);

/*
 * Moves this process into the container's mount namespace, and back to where it was. The root and
 * the working directory are then those of the namespace. Return 0 or -errno.
 */
int guest_enter(struct guest *guest);
int guest_leave(const struct guest *guest);

/* In the container's mount namespace: takes this directory for the root. Returns 0 or -errno. */
int guest_set_root(struct guest *guest, const char *path);

/* A directory of the container. */
struct guest_dir {
	int fd; /* O_PATH; of the topmost mount there */
	int parent;
	char name[NAME_MAX + 1]; /* in parent */
	struct mount_facts facts;
	bool mounted; /* it is the root of its mount */
};

#define GUEST_DIR_NONE                          \
	{                                       \
		.fd = -EBADF, .parent = -EBADF, \
	}

/*
 * In the container's mount namespace: finds the directory at path, as the container's process
 * would (its root is the root), but not through links of /proc. Asks no filesystem on it
 * anything. Returns 0, ret_dir is then to be given to guest_dir_done(); -EINVAL for the root
 * itself; or -errno.
 */
int guest_find(const struct guest *guest, const char *path, struct guest_dir *ret_dir);
void guest_dir_done(struct guest_dir *dir);

/* In the container's mount namespace: makes a directory where nothing is. Returns 0 or -errno. */
int guest_make(const struct guest *guest, const char *path);

/*
 * In the container's mount namespace: unmounts the topmost mount of the directory, lazily, and no
 * other whatever the container does meanwhile. Returns 0 or -errno.
 */
int guest_unmount(const struct guest_dir *dir);
