/* Reading attributes below a directory fd of /sys. Never blocks on a device. */
#pragma once

#include "base/util.h"

struct sysfs {
	int fd;
	/* The first shortage (util.h), 0: none. What was not read for that is not known to be
	 * missing. */
	int err;
};

/*
 * Reads the file dir/name as text, without surrounding blanks and cut at size. Returns 0, or
 * -errno: -ENOENT for a missing or an empty attribute. ret_text is "" on failure.
 */
int sysfs_read(struct sysfs *sysfs, const char *dir, const char *name, char *ret_text, size_t size);

/* The same for an unsigned decimal number; 0 if there is none. */
uint64_t sysfs_read_number(struct sysfs *sysfs, const char *dir, const char *name);

/* The last component of the link dir/name, "" if there is none. */
void sysfs_read_link(struct sysfs *sysfs, const char *dir, const char *name, char *ret_text,
		     size_t size);

/* Remembers an error if it is a shortage; returns it. */
int sysfs_failed(struct sysfs *sysfs, int err);

/* Cuts the last component off. Returns false when nothing would be left. */
bool sysfs_parent(char *dir);
