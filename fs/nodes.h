/*
 * The node table: which files the kernel knows, and by which names we saw them. A node is a file
 * of a medium, known by (slot, device, inode number); a link is one of its names in a directory
 * that is a node too. No file descriptor is kept: a file is found again by its names.
 *
 * A node id for the kernel is index + generation, so that an old id never means a new file. Only
 * the records live in shared memory (store.h). Every function takes the table's own lock, the
 * last in the lock order, for a short time and never blocks on a device.
 */
#pragma once

#include <pthread.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "fs/index.h"
#include "fs/store.h"

/* What a file is, on every mount of its medium. */
struct node_key {
	uint16_t slot; /* of the medium */
	uint16_t dev;  /* small number for st_dev within the medium (subvolumes) */
	uint64_t ino;  /* st_ino of the real filesystem */
};

enum node_flags {
	NODE_MEDIUM_ROOT = 0x1, /* the root of a medium: no name, ino 0 */
	NODE_BY_NAME = 0x2,	/* its filesystem has no stable inode numbers: the name decides */
	NODE_MAPPED = 0x4,	/* was open for reading and writing: may change through a mapping */
	NODE_GONE = 0x8,	/* deleted: no new lookup finds it */
	NODE_NAMELESS = 0x10,	/* files.h knows what is left of it */
	NODE_LEAVING = 0x40,	/* its last name is being removed: a crash now makes it GONE */
	NODE_CAP_REMOVED = 0x20, /* its capabilities went: the next empty SETATTR is a write's */
	NODE_CAP_ASKED = 0x80,	 /* somebody asked whether it has capabilities: nodes_cap_ask() */
};

/* A copy of what others may know of a node. */
struct node_info {
	uint32_t index;
	struct node_key key;
	mode_t type; /* S_IFMT bits */
	uint8_t flags;
	bool known; /* the kernel has lookups of it */
};

struct nodes {
	pthread_mutex_t lock;
	struct store *store;
	struct hash_index by_key;  /* nodes */
	struct hash_index by_name; /* links */
	uint32_t slot_nodes[STORE_SLOTS];
	bool frozen[STORE_SLOTS]; /* no node of the slot is freed */
};

#define NODE_ID_ROOT 1 /* FUSE_ROOT_ID: the view's own root, not in the table */

/* The record sizes for store_open(). */
extern const struct store_layout nodes_layout;

/*
 * Builds the indexes from the store, repairing what an interrupted update left. Nothing is
 * pinned. Returns 0 or -errno.
 */
int nodes_init(struct nodes *nodes, struct store *store);
void nodes_done(struct nodes *nodes);

/*
 * Frees the nodes that an interrupted update left although nobody needs them. Once, after
 * nodes_init(), as soon as everything is pinned again.
 */
void nodes_sweep(struct nodes *nodes);

/* Node id -> copy. Returns 0, or -ESTALE for one that we do not (any more) know. */
int nodes_get(struct nodes *nodes, uint64_t nodeid, struct node_info *ret_info);

/*
 * A lookup by the kernel: finds or makes the node, adds the name if it is new, counts one
 * lookup. parent: index of the directory's node; name NULL for the root of a medium (key.ino 0)
 * and for a file without one. Returns 0, -ESTALE when the parent is gone or no directory, -ELOOP
 * when it is the file itself, -ENAMETOOLONG, -ENOMEM or -ENOSPC.
 */
int nodes_lookup(struct nodes *nodes, uint32_t parent, const char *name, const struct node_key *key,
		 mode_t type, uint8_t flags, uint64_t *ret_nodeid);

/*
 * Takes lookups back; the node goes with the last one. Unknown ids and too many are ignored.
 * Returns whether the kernel has none left of a node that goes on, since it is pinned.
 */
bool nodes_forget(struct nodes *nodes, uint64_t nodeid, uint64_t count);

/* Whether there is a live node with this index, for records of an earlier server. */
bool nodes_exists(struct nodes *nodes, uint32_t index);

/*
 * Keeps the nodes of a slot although the kernel forgets them: its requests were answered while
 * their handlers still run, and these must not meet another file under the same index. Thawing
 * frees what nobody needs any more.
 */
void nodes_freeze(struct nodes *nodes, uint16_t slot);
void nodes_thaw(struct nodes *nodes, uint16_t slot);

/* How many nodes a slot has. */
uint32_t nodes_slot_count(struct nodes *nodes, uint16_t slot);

/*
 * Keeps a node while a file of it is open here, whatever the kernel forgets. Returns false when
 * there is no such node; then, as for flags, nothing is done, and unpinning it does nothing.
 */
bool nodes_pin(struct nodes *nodes, uint32_t index);
void nodes_unpin(struct nodes *nodes, uint32_t index);

void nodes_set_flags(struct nodes *nodes, uint32_t index, uint8_t set, uint8_t clear);

/*
 * The file that was NODE_LEAVING stays after all. same: it is the file of the node's key, which
 * then finds it again where a crash in between had made the node NODE_GONE.
 */
void nodes_spare(struct nodes *nodes, uint32_t index, bool same);

/*
 * Whose removal of a file's capabilities is part of a write: of a thread that asked before whether
 * there are any. It is noted, also for the next server, until one removes them, or until the same
 * thread reads them (nodes_cap_read()), which no write does. When several asked it may be any.
 */
void nodes_cap_ask(struct nodes *nodes, uint32_t index, uint32_t thread);
void nodes_cap_read(struct nodes *nodes, uint32_t index, uint32_t thread);
bool nodes_cap_take(struct nodes *nodes, uint32_t index, uint32_t thread);

/*
 * The id and the flags of a node: the caller has pinned it, the kernel has looked it up, or it is
 * the parent of such a one. 0, without flags, when it is gone all the same.
 */
uint64_t nodes_id(struct nodes *nodes, uint32_t index, uint8_t *ret_flags);

/* The id of the root of the medium in a slot; 0: the kernel has not looked it up. */
uint64_t nodes_root_id(struct nodes *nodes, uint16_t slot);

/* The node under this name. Returns 0 or -ENOENT when no lookup has seen it. */
int nodes_find_name(struct nodes *nodes, uint32_t parent, const char *name,
		    struct node_info *ret_info);

/*
 * The name was removed from its directory. ret_left: whether the node has another one; not
 * when the name was not known. gone: the file itself is deleted, no lookup may find it any more.
 */
void nodes_remove_name(struct nodes *nodes, uint32_t parent, const char *name, bool gone,
		       bool *ret_left);

/*
 * A rename that has happened: the node under the old name, if known, now has the new one.
 * Returns 0, or -ESTALE/-ENOMEM/-ENOSPC, the old name then being forgotten all the same.
 */
int nodes_rename(struct nodes *nodes, uint32_t old_parent, const char *old_name,
		 uint32_t new_parent, const char *new_name);
int nodes_exchange(struct nodes *nodes, uint32_t parent_a, const char *name_a, uint32_t parent_b,
		   const char *name_b);

/* The number-th name of a node (0 = first). Returns 0, or -ENOENT when it has no more. */
int nodes_name(struct nodes *nodes, uint32_t index, unsigned number, uint32_t *ret_parent,
	       char ret_name[LIMIT_FILE_NAME + 1]);

struct node_path {
	char buf[4096];
	char *path;    /* in buf: relative to base, "" for base itself */
	uint32_t base; /* node to start from: the medium's root, or a directory on the way */
};

/*
 * The path of a directory, upwards until the medium's root or until the buffer is full.
 * Returns 0, or -ESTALE when it has no name any more.
 */
int nodes_dir_path(struct nodes *nodes, uint32_t index, struct node_path *ret_path);
