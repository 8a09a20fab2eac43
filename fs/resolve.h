/*
 * From a node to a place where the *at() system calls can reach it. The parent directory's fd
 * comes from the cache or is opened by one openat2() from the medium's root; the last component
 * is a name. Nobody else changes the medium, so a path can only be wrong because of a rename
 * that runs in another thread: that is detected, and the resolution repeated.
 */
#pragma once

#include <sys/stat.h>

#include "base/limits.h"
#include "fs/files.h"
#include "fs/medium.h"
#include "fs/nodes.h"

/* dirfd and name for fstatat() and its kin; name "" means the fd itself (AT_EMPTY_PATH). */
struct place {
	int fd;
	char name[LIMIT_NAME + 1];
	struct view *view;
	struct dir *dir;
	struct file_loan loan;
};

#define PLACE_NONE                                    \
	{                                             \
		.fd = -EBADF, .loan = {.fd = -EBADF } \
	}
void place_done(struct place *place);
#define _cleanup_place_ _cleanup_(place_done)

/* The directory itself, as fd. -ESTALE when it is gone, or -errno. Blocks on the device. */
int resolve_dir(struct medium *medium, const struct node_info *node, struct place *ret_place);

/*
 * A file by one of its names, not checked: for calls whose node cannot be renamed meanwhile
 * since the kernel holds its lock (setattr, setxattr). Deleted files: their open fd, name "".
 */
int resolve(struct medium *medium, const struct node_info *node, struct place *ret_place);

/* The attributes of a node, checked to be those of this very file. Blocks on the device. */
int resolve_stat(struct medium *medium, const struct node_info *node, struct stat *ret_st);

/*
 * Opens a node (O_NOFOLLOW is added), checked to be this very file. flags must not create or
 * truncate. Returns the fd or -errno.
 */
int resolve_open(struct medium *medium, const struct node_info *node, int flags);

/* Whether a stat is of this node, as far as its filesystem lets us tell. */
bool resolve_same(struct medium *medium, const struct node_info *node, const struct stat *st);
