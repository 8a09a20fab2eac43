/*
 * The few questions about a caller's rights that are ours. The main one: the kernel let the
 * caller into a medium's directory by attributes that were made up, since nothing was mounted
 * yet. Only for the first requests after a medium was plugged in; after those the kernel has the
 * true ones.
 */
#pragma once

#include "fs/request.h"

/*
 * Whether the caller of a request may access a directory: mask as for access(2). The real
 * filesystem decides, ACLs included, with the caller's ids and groups. Returns 0 or -EACCES.
 * May block on the device.
 */
int access_check(const struct request *req, int dir_fd, int mask);

/*
 * Whether the caller is root with a capability (linux/capability.h), as far as can be seen in
 * /proc; where it cannot, root has it. A user's are not looked at: they may be those of a user
 * namespace of his own.
 */
bool access_root_has(const struct request *req, int cap);

/*
 * Whether the caller is a member of a group, by its filesystem gid or its supplementary groups
 * as far as they can be seen in /proc.
 */
bool access_in_group(const struct request *req, uint32_t gid);

/* Makes the calling thread a member of a group besides its filesystem gid, until it leaves. */
void access_join_group(uint32_t gid);
void access_leave_group(void);
