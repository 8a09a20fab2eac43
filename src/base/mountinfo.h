/* What the mount table says of one mount: /proc/PID/mountinfo (proc(5)). */
#pragma once

#include <limits.h>

#include "util.h"

struct mount_facts {
	unsigned long long id;
	unsigned long long parent; /* the id of the mount that it is on */
	char device[24];	   /* "MAJOR:MINOR" of its filesystem */
	char root[PATH_MAX];	   /* which directory of the filesystem is its root, escaped */
	char options[256];	   /* of the mount, not of the filesystem: "ro,nosuid" */
	char type[64];		   /* "ext4", "fuse.hotplugfs" */
	char source[64];	   /* "/dev/sda1"; cut when it is longer */
	bool follows;		   /* it is a slave: gets what is mounted on its master */
};

/*
 * The mount that an open file is on, which must be in the mount namespace of this process. proc:
 * an fd of /proc, which may be that of another mount namespace. Asks the mounted filesystem
 * nothing. Returns 0, -ENOENT when it is not in the table, or -errno.
 */
int mountinfo_of(int proc, int fd, struct mount_facts *ret_facts);

/* The same of a mount that is known by its id. */
int mountinfo_by_id(int proc, unsigned long long id, struct mount_facts *ret_facts);

/* Whether the options have this one, for example "ro". Pure. */
bool mountinfo_has(const struct mount_facts *facts, const char *option);
