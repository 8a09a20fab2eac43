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
	char name[LIMIT_FILE_NAME + 1];
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
 * For a call that changes a file (setattr, setxattr), under the inode's lock in the kernel. With it
 * a file cannot be renamed meanwhile, so that one of its names is enough, not checked. A directory
 * can (vfs_rename() does not lock one that stays in its parent): it is always an fd, as are
 * deleted files; name "" then. Returns 0, -ESTALE when it is gone, or -errno.
 */
int resolve(struct medium *medium, const struct node_info *node, struct place *ret_place);

/*
 * For a call that reads something of a file, under no lock: fn, made again when the place may
 * have been another file's. Returns what fn returned, or -ESTALE when the file is gone, or -errno.
 */
typedef int (*resolve_fn)(const struct place *place, void *data);
int resolve_read(struct medium *medium, const struct node_info *node, resolve_fn fn, void *data);

/* A look at whether names are being changed in a medium. Takes no lock. */
struct names_look {
	bool still;
	unsigned begun;
};
struct names_look names_look(struct medium *medium);
/* Whether no name was being changed then, and none has been since. */
bool names_were_still(struct medium *medium, const struct names_look *look);

/* The attributes of a node, checked to be those of this very file. Blocks on the device. */
int resolve_stat(struct medium *medium, const struct node_info *node, struct stat *ret_st);

/*
 * Opens a node (O_NOFOLLOW is added), checked to be this very file. flags must not create or
 * truncate. Returns the fd or -errno.
 */
int resolve_open(struct medium *medium, const struct node_info *node, int flags);

/* Whether a stat is of this node, as far as its filesystem lets us tell. */
bool resolve_same(struct medium *medium, const struct node_info *node, const struct stat *st);
