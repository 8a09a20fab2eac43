#include "index.h"

#define INDEX_SMALLEST 256

int index_init(struct hash_index *index)
{
	index->size = INDEX_SMALLEST;
	index->count = 0;
	index->heads = malloc(INDEX_SMALLEST * sizeof(uint32_t));
	if (!index->heads)
		return -ENOMEM;
	memset(index->heads, 0xff, INDEX_SMALLEST * sizeof(uint32_t));
	return 0;
}

void index_done(struct hash_index *index)
{
	free(index->heads);
	index->heads = NULL;
}

static void push(struct hash_index *index, uint32_t id)
{
	uint32_t *head = &index->heads[index->hash(index->owner, id) & (index->size - 1)];

	*index->next(index->owner, id) = *head;
	*head = id;
}

static void resize(struct hash_index *index, uint32_t size)
{
	uint32_t *old = index->heads;
	uint32_t old_size = index->size;
	uint32_t *heads = malloc(size * sizeof(uint32_t));

	if (!heads)
		return;
	memset(heads, 0xff, size * sizeof(uint32_t));
	index->heads = heads;
	index->size = size;
	for (uint32_t i = 0; i < old_size; i++) {
		uint32_t id = old[i];

		while (id != INDEX_NONE) {
			uint32_t next = *index->next(index->owner, id);

			push(index, id);
			id = next;
		}
	}
	free(old);
}

void index_insert(struct hash_index *index, uint32_t id)
{
	if (index->count >= 2 * index->size && index->size < 1U << 30)
		resize(index, 2 * index->size);
	push(index, id);
	index->count++;
}

void index_remove(struct hash_index *index, uint32_t id)
{
	uint32_t *at = &index->heads[index->hash(index->owner, id) & (index->size - 1)];

	while (*at != INDEX_NONE && *at != id)
		at = index->next(index->owner, *at);
	if (*at == INDEX_NONE)
		return;
	*at = *index->next(index->owner, id);
	index->count--;
	if (index->size > INDEX_SMALLEST && index->count < index->size / 4)
		resize(index, index->size / 2);
}
