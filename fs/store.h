/*
 * The memory that outlives a server: one sparse memfd with fixed regions of fixed-size records.
 * Records name each other by index, never by address, and each begins with a word that is not 0
 * exactly while the record is whole. So a server that died in the middle of an update leaves
 * records that the next one can tell apart, and everything else (free lists, hash chains) is
 * private memory, made anew from them.
 */
#pragma once

#include "base/util.h"

/*
 * Part of what view_store_layout() tells: to be raised whenever records or the header mean
 * something else, so that no program goes on from what another one wrote and it does not
 * understand.
 */
#define STORE_LAYOUT 2

/* Region of records of one size. Not thread-safe: the caller has a lock. */
struct slab {
	char *base;
	size_t record_size;   /* at least 8; a multiple of 4 */
	size_t chunk_size;    /* bytes: whole records and whole pages, which can be given back */
	uint32_t per_chunk;   /* records of one chunk */
	uint32_t chunk_limit; /* chunks of the region */
	uint32_t chunk_count; /* chunks looked at so far: those behind were never used */
	struct slab_chunk *chunks;
	uint32_t partial; /* first chunk with a free record, NONE at the end */
	uint32_t spare;	  /* one empty chunk whose memory is kept for what comes next, or NONE */
	uint64_t live;
};

#define SLAB_NONE UINT32_MAX

/* The first word of every record. */
struct slab_head {
	uint32_t live;	    /* not 0: in use */
	uint32_t next_free; /* while it is free */
};

/*
 * Takes a free record, its memory zeroed but for the head; the caller fills it and then sets the
 * live word with slab_publish(). Returns 0, -ENOSPC when the region is full, -ENOMEM.
 */
int slab_alloc(struct slab *slab, uint32_t *ret_index);
static inline void *slab_at(const struct slab *slab, uint32_t index)
{
	return slab->base + (size_t)index * slab->record_size;
}
/* Marks a filled record as whole; live must not be 0. */
static inline void slab_publish(struct slab *slab, uint32_t index, uint32_t live)
{
	__atomic_store_n(&((struct slab_head *)slab_at(slab, index))->live, live, __ATOMIC_RELEASE);
}
/* Gives a record back, and its memory to the system when two chunks are empty. */
void slab_free(struct slab *slab, uint32_t index);
/* An index that may come from a hostile kernel: the record if it is live, else NULL. */
void *slab_find(const struct slab *slab, uint32_t index);

enum store_region {
	STORE_NODES,
	STORE_LINKS_SHORT, /* sizes of names */
	STORE_LINKS_MEDIUM,
	STORE_LINKS_LONG,
	STORE_LINKS_LONGER,
	STORE_LINKS_LONGEST,
	STORE_FILES,
	STORE_SUBVOLUMES,
	STORE_REGIONS,
};

#define STORE_SLOTS	 4096 /* media slots; slot 0 is the view's own root */
#define STORE_SAVED_INIT 256

/*
 * A rename that would do harm if it were done twice, while it is being done: what stood under the
 * old name before.
 */
struct store_intent {
	uint64_t unique; /* of the request; 0: free */
	uint64_t ino;
};
#define STORE_INTENTS 64

/* The first pages of the memfd. */
struct store_header {
	uint32_t magic;
	uint32_t generation; /* of the newest node; never goes back */
	uint32_t file_generation;
	uint32_t server;      /* counts the servers */
	int32_t backing_seen; /* highest backing id that was ever recorded */
	_Alignas(8) char saved_init[STORE_SAVED_INIT];
	struct store_intent intents[STORE_INTENTS];
	uint32_t slots[STORE_SLOTS]; /* the broker's id of the medium in each slot, 0: free */
};

struct store {
	int fd;
	size_t size;
	struct store_header *header;
	struct slab slabs[STORE_REGIONS];
};

/* The sizes of the records, which the store itself does not know. */
struct store_layout {
	size_t record_size[STORE_REGIONS];
};

/* Makes the memfd, empty. Returns the fd or -errno. */
int store_new_fd(void);

/*
 * Maps the memfd (taken over, also on failure) and builds the free lists. Blocks on nothing.
 * Returns 0, -EBADMSG when it is not one of ours, or -errno.
 */
int store_open(int fd, const struct store_layout *layout, struct store *ret_store);
void store_close(struct store *store);
