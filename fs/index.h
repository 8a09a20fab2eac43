/*
 * A chained hash index over records that live elsewhere and hold the chain themselves. The heads
 * are private memory and grow and shrink with the number of records. Not thread-safe.
 */
#pragma once

#include "base/util.h"

#define INDEX_NONE UINT32_MAX

struct hash_index {
	uint32_t *heads;
	uint32_t size; /* a power of two */
	uint32_t count;
	/* the chain field of a record, and its hash */
	uint32_t *(*next)(void *owner, uint32_t id);
	uint64_t (*hash)(void *owner, uint32_t id);
	void *owner;
};

/* Returns 0 or -ENOMEM. The callbacks and the owner are set by the caller before. */
int index_init(struct hash_index *index);
void index_done(struct hash_index *index);
/* Cannot fail: without memory for more heads the chains get longer. */
void index_insert(struct hash_index *index, uint32_t id);
void index_remove(struct hash_index *index, uint32_t id);
/* First record of the chain for a hash; go on with *index->next(). INDEX_NONE at its end. */
static inline uint32_t index_first(const struct hash_index *index, uint64_t hash)
{
	return index->heads[hash & (index->size - 1)];
}

/* A good mix of one word (the finalizer of MurmurHash3, public domain). */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ (x >> 33);
}
