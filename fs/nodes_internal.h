/* The records of the node table, for nodes.c and links.c only. */
#pragma once

#include "nodes.h"

struct node {
	uint32_t generation; /* slab_head.live */
	uint32_t hash_next;  /* in by_key; INDEX_NONE also when it is in no chain */
	uint64_t ino;
	uint64_t lookups;
	uint32_t links;	   /* first name, LINK_NONE without one */
	uint32_t children; /* links whose parent this is */
	uint16_t slot;
	uint16_t dev;
	uint8_t type; /* S_IFMT >> 12 */
	uint8_t flags;
	uint16_t asker; /* with NODE_CAP_ASKED: the thread's number, its lower half; 0: several */
	uint32_t pins;
};
_Static_assert(sizeof(struct node) == 48, "memory per file is a promise");

struct node_link {
	uint32_t node_plus_1; /* slab_head.live */
	uint32_t parent;
	uint32_t hash_next; /* in by_name */
	uint32_t node_next; /* other names of the node */
	uint32_t node_prev; /* LINK_NONE for the first */
	uint16_t length;
	char name[]; /* not terminated */
};

#define LINK_NONE   UINT32_MAX
#define LINK_HEADER offsetof(struct node_link, name)

static inline struct node *node_at(struct nodes *nodes, uint32_t index)
{
	return slab_at(&nodes->store->slabs[STORE_NODES], index);
}

/* The same for an index that may be an old one: NULL when there is no such node. */
static inline struct node *node_find(struct nodes *nodes, uint32_t index)
{
	return slab_find(&nodes->store->slabs[STORE_NODES], index);
}

/* A link's number: its place in a region, which the three upper bits tell. */
#define LINK_CLASSES	 (STORE_LINKS_LONGEST - STORE_LINKS_SHORT + 1)
#define LINK_CLASS_SHIFT 29
#define LINK_INDEX_MASK	 ((1U << LINK_CLASS_SHIFT) - 1)

static inline struct slab *link_slab(struct nodes *nodes, uint32_t id)
{
	return &nodes->store->slabs[STORE_LINKS_SHORT + (id >> LINK_CLASS_SHIFT)];
}

static inline struct node_link *link_at(struct nodes *nodes, uint32_t id)
{
	return slab_at(link_slab(nodes, id), id & LINK_INDEX_MASK);
}

/* Makes a link the first of its node's names. */
static inline void link_hook(struct nodes *nodes, struct node *node, uint32_t id)
{
	struct node_link *l = link_at(nodes, id);

	l->node_prev = LINK_NONE;
	l->node_next = node->links;
	if (l->node_next != LINK_NONE)
		link_at(nodes, l->node_next)->node_prev = id;
	node->links = id;
}

uint64_t link_hash(uint32_t parent, const char *name, size_t length);
/* LINK_NONE when there is no such name. */
uint32_t link_find(struct nodes *nodes, uint32_t parent, const char *name);
/* Returns 0, -ENAMETOOLONG, -ESTALE without such a parent, -ENOMEM, -ENOSPC. */
int link_add(struct nodes *nodes, uint32_t index, uint32_t parent, const char *name);
/* Unhooks and frees a link, and the parent's node if nothing else needs it. */
void link_drop(struct nodes *nodes, uint32_t id);
/* Keeps the node of a directory while names in it change; false when it is none. */
bool dir_hold(struct nodes *nodes, uint32_t index);
void dir_unhold(struct nodes *nodes, uint32_t index);
/* Frees a node that nobody needs: no lookup, no pin, no child. Its names go, too. */
void node_release(struct nodes *nodes, uint32_t index);
