/*
 * Filesystem types that we mount, and with which options (DESIGN section 6). A table; pure.
 */
#pragma once

#include "base/limits.h"
#include "device/config.h"

struct driver {
	const char *fstype;	 /* as libblkid calls it */
	const char *kernel_type; /* as the kernel calls it; or the name of the program */
	const char *defaults;	 /* always given, comma separated */
	const char *allowed;	 /* names that the configuration may add or change */
	const char *rescue;	 /* reads a write-protected medium that needs recovery; or NULL */
	bool read_only;		 /* only ever mounted read-only */
	bool takes_owner;	 /* has uid= and gid=: no owners on the disk */
	bool has_shutdown;	 /* FS_IOC_SHUTDOWN works: passthrough can be fenced */
	/* The rest is for drivers that are programs, see programs.h. */
	const char *program; /* its file name; NULL: the kernel's own driver */
	const char *package; /* of Debian */
	const char
		*foreground; /* the argument that keeps it there; NULL: one of the defaults does */
	bool mounts;	     /* by itself, not by fusermount(1): see program_mount.h */
	bool stable_inodes;  /* a file keeps its inode number */
};

/* Of the kernel. NULL: not on the list. "ntfs" prefers ntfs3, then the new ntfs, by
 * /proc/filesystems. */
const struct driver *driver_find(const char *fstype);

/* Whether the kernel has none by this name, and takes no modules that could bring one. */
bool driver_is_impossible(const struct driver *driver);

/* The one of this type that the kernel calls so, or NULL. */
const struct driver *driver_find_kernel(const char *fstype, const char *kernel_type);

/*
 * What to try when the kernel does not know this type: that list names no module that could still
 * be loaded. NULL: nothing more.
 */
const struct driver *driver_other(const struct driver *driver);

/* The drivers of the kernel by their number; NULL: there are no more. */
const struct driver *driver_at(size_t index);

/*
 * Whether the options of a comma separated list may be given to a driver; NULL: to any that there
 * is, also of programs.h. Returns 0, or -EINVAL with the first that may not in error. Pure.
 */
int options_check(const struct driver *driver, const char *list, char *error, size_t error_size);

/*
 * The options for one mount: defaults, then extra (from the configuration; a name that is not
 * allowed is refused), then uid=/gid= where the type takes an owner. nosuid, nodev and ro are
 * flags, not in the string. Returns 0, or -EINVAL with the offending option named in error, or
 * -E2BIG.
 */
int driver_options(const struct driver *driver, const char *extra, const struct owner *owner,
		   char ret_options[LIMIT_OPTIONS], char *error, size_t error_size);
