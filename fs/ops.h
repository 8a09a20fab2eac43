/*
 * The handlers of requests, by theme, and what they share. A handler runs behind the gate, on a
 * worker thread, answers its request exactly once (or finds that the fence has done so), and
 * may block on the device. Handlers hold no lock while they do.
 */
#pragma once

#include <sys/stat.h>

#include "fs/resolve.h"
#include "fs/view_internal.h"

typedef void (*op_fn)(struct request *req, struct medium *m, const struct node_info *node);

/* Before something of the medium is changed: it is marked as written, and once more at the end. */
static inline void request_changes(struct request *req, struct medium *m)
{
	req->changes = true;
	medium_written(m);
}

/* proxy_attr.c */
void op_getattr(struct request *req, struct medium *m, const struct node_info *node);
void op_statx(struct request *req, struct medium *m, const struct node_info *node);
void op_setattr(struct request *req, struct medium *m, const struct node_info *node);
void op_statfs(struct request *req, struct medium *m, const struct node_info *node);
/*
 * Takes set-id bits away from a file before a write of the request's caller changes it, as
 * setattr_should_drop_suidgid() would (fs/attr.c). fd, name: as for fstatat(). 0 or -errno.
 */
int setid_kill(struct request *req, const struct stat *st, int fd, const char *name);
/*
 * The caller's rights for a call that changes a file, and in which (lose) the real filesystem
 * takes set-id bits away where it would from the caller. fd, name: as for fstatat(). 0 or -errno.
 */
int setid_creds(struct request *req, struct medium *m, int fd, const char *name, bool lose);
/* proxy_lookup.c */
void op_lookup(struct request *req, struct medium *m, const struct node_info *node);
void op_readlink(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_create.c */
void op_mkdir(struct request *req, struct medium *m, const struct node_info *node);
void op_mknod(struct request *req, struct medium *m, const struct node_info *node);
void op_symlink(struct request *req, struct medium *m, const struct node_info *node);
void op_link(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_remove.c */
void op_unlink(struct request *req, struct medium *m, const struct node_info *node);
void op_rmdir(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_rename.c */
void op_rename(struct request *req, struct medium *m, const struct node_info *node);
void op_rename2(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_open.c */
void op_open(struct request *req, struct medium *m, const struct node_info *node);
void op_create(struct request *req, struct medium *m, const struct node_info *node);
void op_tmpfile(struct request *req, struct medium *m, const struct node_info *node);
/*
 * The answer to a request that opened a file, out with the file's handle in it. Returns like
 * reply_data(); when it is not delivered the file is released. The caller puts its reference.
 */
int file_reply(struct request *req, struct file *file, const void *out, size_t size);
void op_release(struct request *req, struct medium *m, const struct node_info *node);
/*
 * expire.c: answers an OPEN after the kernel has been told to look the file's names up again, since
 * its mode is another now: later, from a thread that is not behind the gate. Takes over the
 * reference of file. Returns 0, or -errno when the caller has to answer.
 */
int expire_and_reply(struct request *req, struct medium *m, struct file *file,
		     const struct wire_open_out *out);
/* proxy_io.c */
void op_read(struct request *req, struct medium *m, const struct node_info *node);
void op_write(struct request *req, struct medium *m, const struct node_info *node);
void op_fallocate(struct request *req, struct medium *m, const struct node_info *node);
void op_lseek(struct request *req, struct medium *m, const struct node_info *node);
void op_copy_file_range(struct request *req, struct medium *m, const struct node_info *node);
/*
 * proxy_io.c: the file of a handle with a usable fd; after a restart of the server it is opened
 * again, by its node. Returns 0 or -errno; the caller puts the file.
 */
int file_use(struct request *req, struct medium *m, const struct node_info *node, uint64_t handle,
	     struct file **ret_file);

/* proxy_sync.c */
void op_flush(struct request *req, struct medium *m, const struct node_info *node);
void op_fsync(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_ioctl.c */
void op_ioctl(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_dir.c */
void op_opendir(struct request *req, struct medium *m, const struct node_info *node);
void op_readdir(struct request *req, struct medium *m, const struct node_info *node);
void op_readdirplus(struct request *req, struct medium *m, const struct node_info *node);
/* proxy_xattr.c */
void op_getxattr(struct request *req, struct medium *m, const struct node_info *node);
void op_setxattr(struct request *req, struct medium *m, const struct node_info *node);
void op_listxattr(struct request *req, struct medium *m, const struct node_info *node);
void op_removexattr(struct request *req, struct medium *m, const struct node_info *node);

/* root.c: everything in the view's own root; never blocks on a device. */
void root_dispatch(struct request *req);

/*
 * What can be said of a medium's directory without its filesystem (root_medium.c): handles
 * the request if so and returns true.
 */
bool root_medium_answer(struct request *req, struct medium *m, const struct node_info *node);
/*
 * What is known of that directory while it is mounted, for when the gate is full. changed: its
 * mode, owner or ACL may have been, by a request that is not answered yet. seen: the attributes
 * that it had after so many changes.
 */
void root_medium_changed(struct medium *m);
unsigned root_medium_changes(struct medium *m);
void root_medium_seen(struct medium *m, unsigned changes, const struct stat *st);
/* Whether the kernel may have let a caller in by attributes that were made up. */
bool root_medium_made_up(struct medium *m);
/* The attributes of a medium's directory while it is not mounted. */
void root_medium_attr(struct medium *m, struct fuse_attr *ret_attr, bool *ret_known);
/* The virtual user.hotplugfs.* attributes. True when name is one of them; then answered. */
bool root_medium_xattr(struct request *req, struct medium *m, const char *name, uint32_t size);
/*
 * A node for the medium's directory, looked up once. leaving: another one in its place, for the
 * announcer's rmdir: a removed directory reads as empty, and the handles of the real one are to
 * fail instead. Returns 0 or -errno.
 */
int root_medium_entry(struct view *view, struct medium *m, bool leaving,
		      struct fuse_entry_out *ret_entry);

/* attr.c: from struct stat to the protocol. */
void attr_fill(const struct medium *m, const struct node_info *node, const struct stat *st,
	       struct fuse_attr *ret_attr);
/* The same for the answer of STATX, without a time of birth. */
void attr_to_statx(const struct fuse_attr *attr, struct wire_statx *ret_sx);
/* Seconds for which the kernel may keep these attributes of a node. */
uint64_t attr_valid_s(const struct node_info *node, const struct stat *st);

/*
 * mapping.c: takes NODE_MAPPED from a node that no mapping can change any more. To be called
 * before its attributes are read. Opens the file; may block on the device.
 */
void mapping_check(const struct request *req, struct medium *m, struct node_info *node);

/*
 * proxy_lookup.c: the node for a file that a handler has found or made as name in dir, counted
 * as looked up. fd, name: where it is, for fstatat(). Returns 0 or -errno. When the reply that
 * carries it is not delivered, entry_undo() takes the lookup back.
 */
int entry_make(struct medium *m, const struct node_info *dir, const char *node_name, int fd,
	       const char *name, struct fuse_entry_out *ret_entry);
void entry_undo(struct medium *m, const struct fuse_entry_out *entry);
/* entry_make(), then the reply; err < 0 is answered instead. */
void entry_reply(struct request *req, struct medium *m, const struct node_info *dir, int err,
		 const char *name, int fd);

/*
 * forget.c: that of a deleted file passes its medium's gate, and goes on to op_forget_deleted().
 */
void op_forget(struct view *view, uint64_t nodeid, uint64_t count);
void op_forget_deleted(struct request *req, struct medium *m, const struct node_info *node);
