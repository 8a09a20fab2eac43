/* Reading attributes below a directory fd of /sys. Never blocks on a device. */
#pragma once

#include "base/util.h"

/*
 * Reads the file dir/name as text, without surrounding blanks and cut at size. Returns 0, or
 * -errno: -ENOENT for a missing or an empty attribute. ret_text is "" on failure.
 */
int sysfs_read(int sysfs_fd, const char *dir, const char *name, char *ret_text, size_t size);

/* The same for an unsigned decimal number; 0 if there is none. */
uint64_t sysfs_read_number(int sysfs_fd, const char *dir, const char *name);

/* The last component of the link dir/name, "" if there is none. */
void sysfs_read_link(int sysfs_fd, const char *dir, const char *name, char *ret_text, size_t size);

/* Cuts the last component off. Returns false when nothing would be left. */
bool sysfs_parent(char *dir);
