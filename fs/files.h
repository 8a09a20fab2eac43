/*
 * Open files and directories, and what is known of a node while something of it is open: the
 * backing id of its passthrough opens, and what is left of a deleted file. The records that
 * would be needed after a crash live in the store.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "base/list.h"
#include "fs/channel.h"
#include "fs/nodes.h"
#include "fs/store.h"

struct medium;

struct file {
	uint64_t handle; /* the kernel's fh */
	uint32_t node;	 /* pinned */
	uint64_t nodeid;
	struct medium *medium; /* referenced; NULL after a restart, until it is known again */
	int flags;	       /* of open(2), as it was opened; fd itself is without O_DIRECT */
	bool directory;
	bool writer;
	/* Its opener was let in by rights that were made up: to be checked before it is read. */
	_Atomic bool unchecked;
	uint64_t request; /* that opened it: see files_undo() */
	unsigned refs;	  /* under files->lock */
	bool abandoned;	  /* the medium is gone: nothing but EIO; under files->lock */
	bool released;	  /* the kernel's reference is gone; under files->lock */
	struct list link; /* in the node's list; under files->lock */
	int fd;		  /* -EBADF after a restart of the server, until it is needed */
	int direct_fd;	  /* the same with O_DIRECT, once it was asked for; or -EBADF */
	int backing_id;	  /* 0: through us */
	/* The last write, by O_DIRECT and past the end, was refused. */
	_Atomic bool direct_refused;
	/* What was read ahead of a directory; taken out while a request uses it (proxy_dir.c). */
	struct dir_stream *_Atomic stream;
};

/* What is known of a node while it has open files or is deleted but still in use. */
struct open_node {
	uint32_t index;
	struct list hash; /* bucket */
	struct list files;
	int backing_id; /* 0: none */
	unsigned backing_users;
	unsigned cached_users;	 /* opens without passthrough: the two never mix on one inode */
	int deleted_fd;		 /* O_PATH of a deleted directory or other link, or -EBADF */
	uint32_t deleted_record; /* of that fd in the store, or SLAB_NONE */
	bool deleted;
	struct stat deleted_attr;
	struct timespec deleted_birth; /* zero: not known */
};

#define FILES_BUCKETS 1024

struct files {
	pthread_mutex_t lock; /* after medium->lock, before nodes->lock */
	struct store *store;
	struct nodes *nodes;
	struct channel *channel;
	struct list buckets[FILES_BUCKETS]; /* of open_node */
	struct file **table;		    /* by record index */
	uint32_t table_size;
	atomic_bool writes_come; /* a file was open for writing without passthrough */
	unsigned held;		 /* descriptors that are open for clients, or will be */
	unsigned held_max;
};

/*
 * Finds again what an earlier server had open. previous_fd: where its fds are to be had
 * (fdstore_fetch()), taken over; -EBADF: nowhere, files are then opened again by a name when they
 * are used. Returns 0 or -errno.
 */
int files_init(struct files *files, struct store *store, struct nodes *nodes,
	       struct channel *channel, int previous_fd);

/*
 * Whether one more can be opened, asked before anything is made for it. Some descriptors are kept
 * for all that is not open(2), and a few more for directories. Returns 0 or -ENFILE.
 */
int files_room(struct files *files, bool directory);

/*
 * Registers an open fd (taken over on success) as a file of a node. passthrough: try it; the
 * backing is registered with the calling thread's credentials. Does not block on the device.
 * Returns 0 or -errno. ret_file: a reference for the caller, besides the kernel's own.
 */
struct files_add {
	uint32_t node;
	uint64_t nodeid;
	uint64_t request; /* unique, see files_undo() */
	struct medium *medium;
	int fd;
	int flags;
	bool directory;
	bool unchecked;
	bool passthrough;
};
int files_add(struct files *files, const struct files_add *add, struct file **ret_file);

/*
 * The file of a handle, with a reference. Returns 0, -EBADF for an unknown handle, -EIO when its
 * medium is gone.
 */
int files_get(struct files *files, uint64_t handle, struct file **ret_file);
void file_put(struct files *files, struct file *file);

/* The kernel has had the reply to the request that opened it. */
void files_delivered(struct files *files, struct file *file);
/* Its opener may read it. */
void files_set_checked(struct files *files, struct file *file);
/*
 * The kernel sends a request again that an earlier server had answered in vain: releases the file
 * that it had opened for it. unique: without WIRE_UNIQUE_RESEND.
 */
void files_undo(struct files *files, uint64_t unique);

/* Gives a file an fd again (taken over; closed if another thread was faster). */
void files_set_fd(struct files *files, struct file *file, int fd);

/*
 * The file's fd with O_DIRECT, opened now if need be: through /proc, by the file's own fd, and
 * kept until the file is closed. Returns the fd (the file's) or -errno. May block on the device.
 */
int file_direct_fd(struct files *files, struct file *file);

/* The kernel's RELEASE: the file goes when its last user has put it. May block on the device. */
void files_release(struct files *files, uint64_t handle);

struct file_loan {
	int fd;
	struct file *file; /* whose fd it is; NULL: the loan's own */
};
/* An fd of any open file of the node, or of what is left of it when it is deleted; or -ENOENT. */
int files_borrow(struct files *files, uint32_t node, struct file_loan *ret_loan);
void files_return(struct files *files, struct file_loan *loan);

/* Whether the node has a file that is open for writing. */
bool files_node_written(struct files *files, uint32_t node);
/* Whether it has one that is open for reading and writing, so that it may be changed by a mapping.
 */
bool files_node_mappable(struct files *files, uint32_t node);

/*
 * The node's last name is gone. fd: O_PATH, taken over, or -EBADF; st: its attributes, changed by
 * the deletion already. Kept until the kernel forgets the node (files_forget_node()).
 */
void files_set_deleted(struct files *files, uint32_t node, uint16_t slot, const struct stat *st,
		       int fd);
/* Changes them for who still holds the file by an O_PATH fd. Returns 0 or -ENOENT. */
int files_set_deleted_attr(struct files *files, uint32_t node, const struct stat *st);
/*
 * Before a file is closed: if it is deleted, an O_PATH fd will go on to show what it was at last.
 * May block on the device.
 */
void files_remember_deleted(struct files *files, uint64_t handle);
/* The time of birth of a deleted file, which struct stat does not have. */
void files_set_deleted_birth(struct files *files, uint32_t node, struct timespec birth);
/* Returns 0, or -ENOENT when it is not known. */
int files_deleted_birth(struct files *files, uint32_t node, struct timespec *ret_birth);
/* Returns 0, or -ENOENT when the node is not known as deleted. */
int files_deleted_attr(struct files *files, uint32_t node, struct stat *ret_st);
/*
 * Closes what is kept of deleted nodes of a medium, which is about to be unmounted; their
 * attributes stay known. Blocks on the device.
 */
void files_drop_deleted(struct files *files, uint16_t slot);
/* The kernel has forgotten the node. May block on the device. */
void files_forget_node(struct files *files, uint32_t node);

/*
 * The medium is gone: takes from the kernel what it has cached of open files, which would go on to
 * answer for them, and closes what no request uses; the handles stay, and give -EIO. NULL: of all
 * media that an earlier server had and this one does not know. Waits for pages that somebody reads
 * (invalidate_inode_pages2() in the kernel), so a thread of its own does it, not one that answers
 * requests. May block on the device; no lock may be held.
 */
void files_abandon(struct files *files, struct medium *medium);
/* The same without a word to the kernel, by anybody. */
void files_close_all(struct files *files, struct medium *medium);

/*
 * The files that were open in a slot when an earlier server died are this medium's: they are
 * counted, and opened again when they are used.
 */
void files_adopt(struct files *files, struct medium *medium);

/*
 * Closes the backing ids that an earlier server had registered but not recorded, which would keep
 * their filesystem busy. Once, after INIT, before the first request.
 */
void files_close_strays(struct files *files);
