/* The table of open files and its records, for files.c and files_restart.c only. */
#pragma once

#include "files.h"

enum record_kind {
	RECORD_FILE,
	RECORD_DIRECTORY,
	RECORD_DELETED, /* not open: an O_PATH fd of a node that has no name any more */
};

/* What survives a crash of the server. */
struct file_record {
	uint32_t live; /* slab_head.live: generation */
	uint32_t next_free;
	uint32_t node;
	int32_t flags;
	int32_t backing_id;
	int32_t fd;	  /* a number in the table of the server that wrote it */
	uint64_t request; /* that opened it, until the kernel has had the reply; else 0 */
	uint32_t server;  /* which one that was: store_header.server */
	uint16_t slot;
	uint8_t kind;
	uint8_t unchecked;
};
_Static_assert(sizeof(struct file_record) == 40, "as laid out in nodes_layout");

/* All with files->lock held. */

/* What is known of a node while something of it is open or left; NULL when there is nothing. */
struct open_node *open_node_find(struct files *files, uint32_t node);
/* The same, made if need be; NULL without memory. */
struct open_node *open_node_need(struct files *files, uint32_t node);

/* Frees the entry if nothing is open and the node is not deleted. */
void open_node_settle(struct open_node *node);

/* Writes a record. Returns its generation and index, or 0 and in *ret_index -errno. */
uint32_t files_record_add(struct files *files, const struct file_record *what, int64_t *ret_index);

/* Makes room for a handle with this index. Returns 0 or -ENOMEM. */
int files_table_fit(struct files *files, uint32_t index);

/* A file that is nowhere listed yet; NULL without memory. */
struct file *file_make(const struct files_add *add);

/* Counts a file among its node's, by how it is served. */
void file_count(struct files *files, struct open_node *node, const struct file *file);

/*
 * What an earlier server had open, from its records. previous_fd is taken over. Returns 0 or
 * -errno. At the start, without the lock.
 */
int files_rebuild(struct files *files, int previous_fd);

static inline struct slab *files_records(struct files *files)
{
	return &files->store->slabs[STORE_FILES];
}
